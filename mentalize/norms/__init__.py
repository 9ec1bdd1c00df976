"""Norms, role charters and reflective-listening forms: what refinement, planning and writing go by, as data."""
