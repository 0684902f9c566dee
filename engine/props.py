"""
Connections without a system behind them: real in what they know, made up in what they would need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ai import ModelSpec
from ai.keyring import Keyring
from connectors import catalog
from connectors.contract import Connector
from engine.script import Script
from penstock.clock import SystemClock
from penstock.errors import Invalid
from penstock.http import Http
from penstock.redaction import Redactor
from penstock.secrets import Secret, SecretRef, SecretRefs, Secrets

if TYPE_CHECKING:
    from pipelines.declaration import Declaration


class MadeUpSecrets(Secrets):
    """
    Finds something for every reference, so that nothing has to be set.
    """

    def __init__(self) -> None:
        super().__init__({}, redactor=Redactor())

    def get(self, ref: str | SecretRef | SecretRefs) -> Secret:
        """
        Return a secret that opens nothing.
        """
        del ref
        return Secret("made-up")

    def all(self, refs: SecretRef | SecretRefs) -> tuple[Secret, ...]:
        """
        Return one such secret.
        """
        del refs
        return (Secret("made-up"),)


class MadeUpKeys(Keyring):
    """
    Has something for every model, without signing in anywhere.
    """

    def __init__(self, http: Http) -> None:
        super().__init__(MadeUpSecrets(), http)

    async def of(self, spec: ModelSpec, *, refused: str | None = None) -> list[str]:
        """
        Return a key that opens nothing.
        """
        del spec, refused
        return ["made-up"]


def connections(declaration: Declaration) -> Mapping[str, Connector]:
    """
    Return every connection of *declaration*, unable to send anything.
    """
    return {name: connection(declaration, name) for name in declaration.connections}


def connection(declaration: Declaration, name: str) -> Connector:
    """
    Return one connection of *declaration*, unable to send anything. Raises `Invalid`.
    """
    if name not in declaration.connections:
        raise Invalid(f"there is no connection {name!r}", hint=f"there are {', '.join(declaration.connections)}")
    written = declaration.connections[name]
    return catalog.open(
        written.connector, written.settings, secrets=MadeUpSecrets(), http=Script(None), clock=SystemClock()
    )
