"""
A mailbox on a real Dovecot and a real SMTP server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.connectors.mailbox.office import Office, opened


@pytest.fixture
async def office(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    async with opened("dovecot", monkeypatch) as found:
        yield found
