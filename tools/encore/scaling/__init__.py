"""Scaling laws of repeated data: laws, fits and how sure they are, allocation of a budget."""
