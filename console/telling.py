"""
Where telemetry goes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypedDict

from penstock import otel
from penstock.metrics import Instruments
from penstock.secrets import Secrets, is_reference
from penstock.tracing import Tracing
from pipelines.declaration import Declaration


class Told(TypedDict):
    """
    What parts of a hub tell of their work.
    """

    instruments: Instruments
    tracing: Tracing | None


def told(
    declaration: Declaration, secrets: Secrets, stack: contextlib.AsyncExitStack, instruments: Instruments | None
) -> Told:
    """
    Return what the parts of a hub tell; without *instruments* they are its own.
    """
    return {
        "instruments": instruments or Instruments(),
        "tracing": _tracing(declaration, secrets, stack),
    }


def _tracing(declaration: Declaration, secrets: Secrets, stack: contextlib.AsyncExitStack) -> Tracing | None:
    """
    Return what tells the collector that `hub.otel` or the environment names; None when nobody wants to know.
    """
    wanted = declaration.hub.otel
    if otel.disabled() or (wanted is None and not otel.wanted()):
        return None
    if wanted is None:
        opened = otel.open()
    else:
        url = secrets.get(wanted.url).reveal() if is_reference(wanted.url) else wanted.url
        headers = {name: secrets.get(reference).reveal() for name, reference in wanted.headers.items()}
        opened = otel.open(url, headers or None)
    stack.push_async_callback(asyncio.to_thread, opened.close)
    return opened
