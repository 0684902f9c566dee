"""
Loop net 1 of the connectors made of manifests: who wrote it decides, a marker only while nobody knows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors import catalog
from penstock.clock import SystemClock
from penstock.secrets import Secrets
from schemas.events import Event

SETTINGS = {
    "zendesk": {
        "subdomain": "acme",
        "email": "hub@acme.example",
        "api_token": "${env:TOKEN}",
        "webhook_secret": "${env:HOOK}",
    },
    "github": {"token": "${env:TOKEN}", "webhook_secret": "${env:HOOK}"},
}
MARKERS = {"zendesk": "[penstock:59ee4e3449bc7cd7]", "github": "<!-- penstock:ab:cd -->"}


@pytest.fixture(params=sorted(SETTINGS))
def connector(request: pytest.FixtureRequest) -> Any:
    secrets = Secrets({"TOKEN": "token-of-a-test", "HOOK": "hook-of-a-test"})
    return catalog.open(
        request.param,
        SETTINGS[request.param],
        secrets=secrets,
        http=None,  # type: ignore[arg-type]  # nothing is sent
        clock=SystemClock(),
    )


def _comment(connector: Any, actor: str | None, text: str) -> Event:
    return Event(
        id="1",
        source="https://x.example",
        type="ticket.commented",
        subject="35",
        time=datetime(2026, 1, 5, tzinfo=UTC),
        actor=actor,
        data={"comment": text, "changed": ["comment"]},
    )


def test_what_our_account_wrote_is_ours(connector: Any) -> None:
    """
    The actor is who we act as.
    """
    connector.acts_as = "9001"

    assert connector.own(_comment(connector, "9001", "hello")) == "actor=9001"


def test_a_person_who_quotes_our_marker_is_not_us(connector: Any) -> None:
    """
    Nobody can silence a pipeline by copying a line of our note.
    """
    connector.acts_as = "9001"
    quoted = f"> a note\n> {MARKERS[connector.name]}\nThis is wrong, please look again."

    assert connector.own(_comment(connector, "4711", quoted)) is None


def test_until_we_know_who_we_are_the_marker_counts(connector: Any) -> None:
    """
    At a start during an outage nobody has told us our own name yet.
    """
    connector.acts_as = None

    assert connector.own(_comment(connector, "9001", f"note\n{MARKERS[connector.name]}")) is not None
    assert connector.own(_comment(connector, "4711", "an ordinary comment")) is None
