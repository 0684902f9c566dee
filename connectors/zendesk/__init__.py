"""
Zendesk Support: tickets in, internal notes and fields back.

    connections:
      helpdesk:
        connector: zendesk
        subdomain: acme
        email: hub@acme.example            # the agent we write as
        api_token: ${env:ZENDESK_TOKEN}
        webhook_secret: ${env:ZENDESK_HOOK}

The webhook is an event webhook on ticket events, sent to `/in/<connection>`. The agent needs no more
than the right to comment on and update tickets.
"""
