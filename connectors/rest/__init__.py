"""
Any system that speaks HTTP and JSON: the pieces of a manifest, written where the connection is.
"""
