"""
Which references to secrets a declaration holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from connectors import catalog
from penstock.secrets import SecretRefs, is_reference
from pipelines.declaration import Declaration


def references(declaration: Declaration) -> list[SecretRefs]:
    """
    Return every secret a run of *declaration* needs, the ones under rotation with both references.
    """
    found = [*_parsed(model.key for model in declaration.models.values()), *of_ledger(declaration)]
    for name in declaration.connections:
        found += of_connection(declaration, name)
    if (alerts := declaration.hub.alerts) is not None:
        found += _parsed([alerts.secret, *([alerts.url] if is_reference(alerts.url) else [])])
    if (otel := declaration.hub.otel) is not None:
        found += _parsed([*otel.headers.values(), *([otel.url] if is_reference(otel.url) else [])])
    return found + of_bus(declaration)


def of_ledger(declaration: Declaration) -> list[SecretRefs]:
    """
    Return what has to be known to find the ledger.
    """
    named = declaration.hub.ledger
    return _parsed([named]) if named and is_reference(named) else []


def of_connection(declaration: Declaration, name: str) -> list[SecretRefs]:
    """
    Return the secrets of one connection.
    """
    connection = declaration.connections[name]
    declared = catalog.spec(connection.connector).settings.get("properties", {})
    return _parsed(value for setting, value in connection.settings.items() if declared.get(setting, {}).get("x-secret"))


def of_bus(declaration: Declaration) -> list[SecretRefs]:
    """
    Return what has to be known to reach the bus.
    """
    bus = declaration.hub.bus
    if bus is None:
        return []
    security = bus.security
    written = [bus.kafka, bus.member]
    written += [security.password, security.token, security.client_secret] if security else []
    return _parsed(text for text in written if text is not None and "${" in text)


def _parsed(written: Iterable[object]) -> list[SecretRefs]:
    """
    Return the references among *written*; of what is none, `check` and the connection itself complain.
    """
    found = []
    for each in written:
        with contextlib.suppress(ValueError):
            found.append(SecretRefs.parse(each))
    return found
