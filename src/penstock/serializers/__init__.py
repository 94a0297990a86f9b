"""Edges between Python values and what is stored: JSON by msgspec, and nothing that runs code."""
