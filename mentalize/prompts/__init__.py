"""What the models are asked: one Markdown file each, and the code that fills them."""
