"""
What people see: the command line, and the wiring of a running hub.
"""

__all__: list[str] = []
