"""
Salesforce: changes of records in, fields and notes out.
"""
