"""What makes vectors of texts: one file for each embedder. `resolve_embedder` chooses by name."""
