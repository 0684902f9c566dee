"""
The whole way in one process: a pretend help desk, real signed webhooks, a live view.
"""
