"""
The command line. Nothing heavy is imported before a command needs it.
"""

from console.cli.front import main

__all__ = ["main"]
