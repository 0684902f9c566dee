"""
HubSpot: contacts, companies, deals and tickets in, properties and notes back.

    connections:
      crm:
        connector: hubspot
        portal_id: "12345678"
        app_id: "987654"                   # the private app we are
        access_token: ${env:HUBSPOT_TOKEN}
        client_secret: ${env:HUBSPOT_SECRET}
        public_url: https://hub.acme.example

The private app's webhooks go to `<public_url>/in/<connection>`; HubSpot signs that address with the body.
"""
