"""The package behind the commands in tools/: a wing per noun (README, "Where things live")."""

__version__ = "0.1.0"
