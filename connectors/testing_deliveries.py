"""
What every connector does with deliveries.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.bench import Bench
from connectors.contract import Connector
from connectors.testing_bench import OnBench
from connectors.testing_points import point
from penstock.errors import Forged, Rejected

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)

NOISE = {
    "user-agent": "me",
    "x-atlassian-webhook-identifier": "9",
    "x-github-delivery": "9",
    "x-github-event": "push",
    "x-request-id": "9",
    "x-slack-retry-num": "1",
    "x-zendesk-account-id": "1",
}
"""Headers that nobody signs."""


class DeliveriesContract(OnBench):
    """
    Deliveries are believed or refused, and become events with lasting ids.
    """

    @point(2, "deliveries")
    def test_samples_give_their_events(self, connector: Connector) -> None:
        """Each sample gives exactly the events it promises, valid against the declared schema."""
        assert connector.samples
        for sample in connector.samples:
            events = connector.receive(self.sampled(connector, sample)).events

            assert len(events) == len(sample.events), sample.name
            for event, expected in zip(events, sample.events, strict=True):
                found = event.model_dump()
                assert {name: found[name] for name in expected} == dict(expected)
                jsonschema_rs.validator_for(dict(connector.events[event.type])).validate(event.data)

    @point(2, "deliveries")
    def test_redelivery_keeps_ids(self, connector: Connector) -> None:
        """The same bytes signed again a minute later are the same events."""
        for sample in connector.samples:
            first = connector.receive(self.sampled(connector, sample, late=60)).events
            again = connector.receive(self.sampled(connector, sample)).events

            assert [(event.source, event.id) for event in first] == [(event.source, event.id) for event in again]

    @point(2, "deliveries")
    def test_unsigned_headers_name_no_event(self, connector: Connector) -> None:
        """Whatever stands in headers that are not signed, ids, types and data stay, or nothing comes of it."""
        for sample in connector.samples:
            plain = self.sampled(connector, sample)
            events = connector.receive(plain).events
            noisy = replace(plain, headers={**plain.headers, **NOISE})

            assert connector.receive(noisy).events == events
            signed = self.sign_delivery(connector, plain, self.environment["HOOK"])
            for name in set(plain.headers) - {header.lower() for header in signed}:
                for text in ("", "9"):
                    with contextlib.suppress(Rejected):
                        moved = connector.receive(replace(plain, headers={**plain.headers, name: text}))
                        assert moved.events in (events, ()), name

    @point(2)
    async def test_two_changes_within_a_second(self, bench: Bench) -> None:
        """Two changes in one second, alike in all but being two, are two events."""
        record = self.record(bench.double, "text")

        async def change() -> None:
            self.change_again(bench.double, record)

        first = {(event.source, event.id) for event in await self.told(bench, change)}
        second = {(event.source, event.id) for event in await self.told(bench, change)}

        assert first
        assert second - first

    @point(4, "deliveries", "handshakes")
    def test_handshakes(self, connector: Connector) -> None:
        """What the system asks before it delivers is answered as it wants, and carries no event."""
        asked = self.handshakes(connector)
        assert asked
        for delivery, reply in asked:
            received = connector.receive(delivery)

            assert not received.events
            assert received.reply == reply

    @point(3, "deliveries", "old_secret")
    @pytest.mark.parametrize("secret", ["HOOK", "HOOK_OLD"])
    def test_both_live_secrets(self, connector: Connector, secret: str) -> None:
        """During a rotation the new and the old secret are believed."""
        sample = next(sample for sample in connector.samples if sample.events)

        assert connector.receive(self.sampled(connector, sample, secret=secret)).events

    @point(3, "deliveries")
    def test_forged_deliveries(self, connector: Connector) -> None:
        """Unsigned, tampered, stale, early and foreign deliveries are all `Forged`."""
        good = self.sampled(connector, connector.samples[0])
        foreign = self.sign_delivery(connector, good, "somebody-elses-secret")
        for forged in (*self.forgeries(connector, good), replace(good, headers={**good.headers, **foreign})):
            with pytest.raises(Forged):
                connector.receive(forged)

    @point(3, "deliveries")
    def test_rubbish_is_rejected(self, connector: Connector) -> None:
        """Well-signed bytes that are no delivery raise `Rejected` or are ignored, and nothing else happens."""

        @settings(max_examples=150, deadline=None)
        @given(st.binary(max_size=60) | JSON.map(lambda data: json.dumps(data).encode()))
        def check(body: bytes) -> None:
            with contextlib.suppress(Rejected):
                received = connector.receive(self.delivery(connector, body))
                assert not (received.events or received.decisions) or not self.recognises

        check()

    @point(3, "deliveries")
    def test_damaged_samples(self, connector: Connector) -> None:
        """A delivery with any one field replaced by anything is an event, ignored or `Rejected`."""
        bodies = [(sample, self.unpacked(sample)) for sample in connector.samples]
        places = [(number, path) for number, (_, data) in enumerate(bodies) for path in _paths(data)]

        @settings(max_examples=250, deadline=None)
        @given(st.sampled_from(places), JSON)
        def check(place: tuple[int, tuple[str | int, ...]], value: Any) -> None:
            sample, data = bodies[place[0]]
            damaged = self.packed(sample, _replaced(data, place[1], value))
            with contextlib.suppress(Rejected):
                for event in connector.receive(self.sampled(connector, sample, damaged)).events:
                    jsonschema_rs.validator_for(dict(connector.events[event.type])).validate(event.data)

        check()


def _paths(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, value in inside:
        found += _paths(value, (*path, name))
    return found


def _replaced(data: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    changed = _replaced(data[path[0]], path[1:], value)
    if isinstance(data, list):
        return [changed if place == path[0] else item for place, item in enumerate(data)]
    return {**data, path[0]: changed}
