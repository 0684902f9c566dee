"""
Secrets: written as references, resolved late, never shown.

    secrets = Secrets()
    secrets.get("${env:ZENDESK_TOKEN}").reveal()

Those of a store are fetched first, and renewed beside the work:

    async with secrets.renewed(refs, http=http):
        secrets.get("${vault:kv/crm#token}").reveal()
"""

from penstock.secrets.errors import MissingSecret, SecretAway
from penstock.secrets.references import SecretRef, SecretRefs, is_reference
from penstock.secrets.resolving import Secrets
from penstock.secrets.values import Secret

__all__ = ["MissingSecret", "Secret", "SecretAway", "SecretRef", "SecretRefs", "Secrets", "is_reference"]
