"""What is kept and what fades."""
