"""
Jira Cloud and Jira Service Management: issues and comments in, comments, fields and labels back.

    connections:
      service:
        connector: jira
        site: acme
        email: hub@acme.example            # the account we write as
        api_token: ${env:JIRA_TOKEN}
        webhook_secret: ${env:JIRA_HOOK}

The webhook is one of *System > WebHooks* with a secret, on issues and comments, sent to `/in/<connection>`.
Those that apps register are not signed and not believed.
"""
