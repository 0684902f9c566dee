"""
The whole way in one process: a pretend help desk, real webhooks, a live view.
"""

from console.demo.show import play

__all__ = ["play"]
