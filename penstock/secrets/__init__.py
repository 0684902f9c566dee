"""
Secrets: written as references, resolved late, never shown.

    secrets = Secrets()
    secrets.get("${env:ZENDESK_TOKEN}").reveal()
"""

from penstock.secrets.references import SecretRef, SecretRefs, is_reference
from penstock.secrets.resolving import MissingSecret, Secrets
from penstock.secrets.values import Secret

__all__ = ["MissingSecret", "Secret", "SecretRef", "SecretRefs", "Secrets", "is_reference"]
