"""
What every connector does with deliveries.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.bench import OnBench
from connectors.contract import Delivery
from connectors.declared import DeclaredConnector
from penstock.errors import Forged, Rejected

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


class DeliveriesContract(OnBench):
    """
    Deliveries are believed or refused, and become events with lasting ids.
    """

    def test_samples_give_their_events(self, connector: DeclaredConnector) -> None:
        """Each sample gives exactly the events it promises, valid against the declared schema."""
        assert connector.samples
        for sample in connector.samples:
            events = connector.receive(self.delivery(connector, sample.body)).events

            assert len(events) == len(sample.events), sample.name
            for event, expected in zip(events, sample.events, strict=True):
                found = event.model_dump()
                assert {name: found[name] for name in expected} == dict(expected)
                jsonschema_rs.validator_for(dict(connector.events[event.type])).validate(event.data)

    def test_redelivery_keeps_ids(self, connector: DeclaredConnector) -> None:
        """The same bytes signed again a minute later are the same events."""
        for sample in connector.samples:
            first = connector.receive(self.delivery(connector, sample.body, late=60)).events
            again = connector.receive(self.delivery(connector, sample.body)).events

            assert [(event.source, event.id) for event in first] == [(event.source, event.id) for event in again]

    def test_unsigned_headers_name_no_event(self, connector: DeclaredConnector) -> None:
        """Whatever stands in headers that are not signed, ids, types and data stay."""
        for sample in connector.samples:
            plain = self.delivery(connector, sample.body)
            noise = {
                "x-github-event": "push",
                "x-github-delivery": "9",
                "x-zendesk-account-id": "1",
                "user-agent": "me",
            }
            noisy = Delivery(
                method="POST",
                url=plain.url,
                headers={**plain.headers, **noise},
                body=plain.body,
                received_ms=plain.received_ms,
            )

            assert connector.receive(plain).events == connector.receive(noisy).events

    @pytest.mark.parametrize("secret", ["HOOK", "HOOK_OLD"])
    def test_both_live_secrets(self, connector: DeclaredConnector, secret: str) -> None:
        """During a rotation the new and the old secret are believed."""
        body = connector.samples[0].body

        assert connector.receive(self.delivery(connector, body, secret)).events

    def test_forged_deliveries(self, connector: DeclaredConnector) -> None:
        """Unsigned, tampered, stale, early and foreign deliveries are all `Forged`."""
        rule = connector.manifest.verify
        assert rule is not None
        body = connector.samples[0].body
        good = self.delivery(connector, body)
        stripped = {name: text for name, text in good.headers.items() if name != rule.header}
        altered = {**good.headers, rule.header: good.headers[rule.header][:-2] + "xx"}
        bad = [
            (stripped, body),
            (altered, body),
            (good.headers, body + b" "),
            (good.headers, body.replace(b"a", b"b", 1)),
        ]
        bad += [({**good.headers, rule.header: text}, body) for text in ("", rule.prefix, "ü", "0" * 5000)]
        if rule.timestamp is not None:
            bad += [
                ({**good.headers, rule.timestamp.header: text}, body) for text in ("", "now", "2026-01-01T00:00:00Z")
            ]
            bad += [(self.delivery(connector, body, late=late).headers, body) for late in (301, -301)]
        for headers, sent in bad:
            forged = Delivery(method="POST", url=good.url, headers=headers, body=sent, received_ms=good.received_ms)
            with pytest.raises(Forged):
                connector.receive(forged)

    def test_rubbish_is_rejected(self, connector: DeclaredConnector) -> None:
        """Well-signed bytes that are no delivery raise `Rejected` or are ignored, and nothing else happens."""

        @settings(max_examples=150, deadline=None)
        @given(st.binary(max_size=60) | JSON.map(lambda data: json.dumps(data).encode()))
        def check(body: bytes) -> None:
            with contextlib.suppress(Rejected):
                assert not connector.receive(self.delivery(connector, body)).events

        check()

    def test_damaged_samples(self, connector: DeclaredConnector) -> None:
        """A delivery with any one field replaced by anything is an event, ignored or `Rejected`."""
        bodies = [orjson.loads(sample.body) for sample in connector.samples]
        places = [(number, path) for number, body in enumerate(bodies) for path in _paths(body)]

        @settings(max_examples=250, deadline=None)
        @given(st.sampled_from(places), JSON)
        def check(place: tuple[int, tuple[str | int, ...]], value: Any) -> None:
            damaged = json.dumps(_replaced(bodies[place[0]], place[1], value)).encode()
            with contextlib.suppress(Rejected):
                for event in connector.receive(self.delivery(connector, damaged)).events:
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
