"""
Signing in to a cloud: from who we are to what opens a request, for an hour or less.
"""
