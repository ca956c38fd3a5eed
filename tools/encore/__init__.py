"""The package behind the commands in tools/: rooms by floor, imported downward only (README, "Layout")."""

__version__ = "0.1.0"
