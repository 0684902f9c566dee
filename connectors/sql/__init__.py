"""
Any database that SQLAlchemy speaks to: read-only lookups by query, and rows that become events.
"""
