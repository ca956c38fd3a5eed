"""The facts of registry/, typed."""
