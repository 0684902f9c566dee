"""
A mailbox on a real Dovecot and a real SMTP server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connectors.mailbox import inbox
from tests.connectors.mailbox.office import Office, connect
from tests.connectors.mailbox.servers import Post, dovecot


@pytest.fixture
async def office(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setattr(inbox, "SLICE", 0.2)
    with dovecot() as imap:
        post = Post()
        post.start()
        box = connect(imap.port, post.port, forward_to=["boss@acme.example"], scan="3")
        found = Office(imap, post, box)
        yield found
        await box.close()
        found.post.stop()
