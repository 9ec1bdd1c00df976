"""Evaluations: how a model does with mentalize and without it, on public or packaged questions."""
