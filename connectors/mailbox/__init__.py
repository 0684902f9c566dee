"""
A mailbox: mails in over IMAP, replies, drafts and forwards out over SMTP and IMAP.
"""
