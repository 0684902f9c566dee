"""
Slack: messages and reactions in, threaded replies and drafts for approval out.
"""
