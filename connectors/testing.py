"""
The tests every connector inherits.

    class TestZendesk(ConnectorContract):
        name = "zendesk"
        ...

They drive the connector against its system, a double over real HTTP or a real server, break that in every way
it knows, and never look inside either. What a connector does not have it names in `lacks`, with the reason.
`connectors.testing_portrait` says what else a connector tells of itself, `connectors.testing_points` what is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jsonschema_rs
import pytest

from connectors import catalog, open_call
from connectors.bench import KEY, NASTY, SLOT, Bench
from connectors.contract import Connector, ConnectorSpec
from connectors.testing_bench import OnBench
from connectors.testing_deliveries import DeliveriesContract
from connectors.testing_points import Need, point
from connectors.testing_portrait import Fault
from connectors.testing_writes import REFUSED_MOST, WritesContract
from penstock import errors
from penstock.clock import SystemClock
from penstock.errors import Invalid
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import MissingSecret, Secrets

HAS: Mapping[Need, Callable[[ConnectorSpec], bool]] = {
    "deliveries": lambda spec: spec.delivers,
    "text": lambda spec: any("text" in action.takes for action in spec.actions.values()),
    "find": lambda spec: any(action.idempotency == "read-back" for action in spec.actions.values()),
    "lookup": lambda spec: any(not lookup.many for lookup in spec.lookups.values()),
    "listing": lambda spec: any(lookup.many for lookup in spec.lookups.values()),
}
"""What a connector cannot say it lacks when its spec has it."""


class LookupsContract(OnBench):
    """
    Reads give what they declare, or an error that says what to do.
    """

    @point(13, "lookup")
    async def test_only_declared_fields(self, bench: Bench) -> None:
        """A lookup returns its declared fields and no other, of the declared types."""
        record = self.record(bench.double, "text")
        if "text" not in self.lacks:
            await self.write(bench, record)
        for name in filter(None, (self.lookup, self.listing)):
            lookup = bench.connector.lookups[name]
            found = await lookup.fetch(record, bench.call(), 5)

            assert found
            for item in found:
                assert set(lookup.fields) == set(item)
                for field_name, schema in lookup.fields.items():
                    jsonschema_rs.validator_for(dict(schema)).validate(item[field_name])

    @point(13, "lookup")
    async def test_text_is_read_unchanged(self, bench: Bench) -> None:
        """Braces, quotes, newlines and emoji come from the system as they are."""
        record = self.record(bench.double, NASTY)
        found = await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)

        assert self.main_text(found[0]) == NASTY

    @point(13, "text")
    async def test_text_is_written_unchanged(self, bench: Bench) -> None:
        """They arrive in the system as they were, too; how a line ends is the system's own."""
        record = self.record(bench.double, "text")
        await self.write(bench, record, NASTY)

        assert self.written(bench.double, record)[0].replace("\r\n", "\n").startswith(NASTY.replace("\r\n", "\n"))

    @point(13, "lookup")
    async def test_unknown_records(self, bench: Bench) -> None:
        """Ids that no record has are `NotFound`, and paths made of them never leave their place."""
        for record in self.unknown:
            with pytest.raises(errors.NotFound):
                await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)

    @point(10, "lookup")
    async def test_failing_reads(self, bench: Bench, read_fault: Fault) -> None:
        """Each way a read can fail has its error, after exactly one request."""
        fault, error = read_fault
        record = self.record(bench.double, "text")
        await bench.fault(**fault)
        with pytest.raises(error):
            await bench.connector.lookups[self.lookup].fetch(record, bench.call(timeout=1.0), 1)

        assert len(bench.requests()) <= self.most_requests


class ConnectorContract(DeliveriesContract, WritesContract, LookupsContract):
    """
    What holds for every connector.
    """

    # ---- settings -----------------------------------------------------------------------------

    @point(1)
    def test_what_it_lacks(self) -> None:
        """What a connector says it lacks, it lacks: nobody is exempt from what they do."""
        spec = catalog.spec(self.name, self.settings("https://pretended.example"))

        assert not [need for need in self.lacks if need in HAS and HAS[need](spec)]

    @point(1)
    def test_unknown_setting(self) -> None:
        """A setting nobody declared is refused by name."""
        with pytest.raises(Invalid, match="'colour'"):
            catalog.open(
                self.name,
                {**self.settings("https://x.example"), "colour": "red"},
                secrets=Secrets({}),
                http=AiohttpHttp(),
                clock=SystemClock(),
            )

    @point(1)
    def test_missing_secrets_are_listed_together(self) -> None:
        """Every unset reference is named in one error."""
        gone = dict.fromkeys(self.environment, "")
        with pytest.raises(MissingSecret) as raised:
            self.connect(**gone)

        assert not [name for name in gone if name != "HOOK_OLD" and name not in str(raised.value)]

    @point(3, "deliveries", "old_secret")
    async def test_old_secret_may_be_gone(self) -> None:
        """After a rotation the old secret's reference may lead nowhere."""
        async with self.opened(HOOK_OLD="") as connector:
            assert connector.name == self.name

    # ---- health -------------------------------------------------------------------------------

    @point(5)
    async def test_health(self, bench: Bench) -> None:
        """A good credential is `ok` and tells who we are."""
        health = await bench.connector.health(bench.call())

        assert health.state == "ok"
        assert health.acts_as
        assert bench.connector.acts_as == health.acts_as

    @point(5)
    async def test_health_with_a_wrong_credential(self) -> None:
        """A wrong credential is `auth`, after few requests."""
        async with self.benched(**{self.credential: "wrong"}) as bench:
            health = await bench.connector.health(bench.call())

            assert health.state == "auth"
            assert 1 <= len(bench.requests()) <= REFUSED_MOST

    @point(5)
    async def test_health_of_what_is_down(self) -> None:
        """A system nobody can reach is `down`; nothing is raised."""
        http = AiohttpHttp()
        async with self.opened(self.nowhere) as connector:
            call = open_call(connector, http, key=KEY, slot=SLOT, timeout=3.0, clock=SystemClock())
            health = await connector.health(call)
        await http.close()

        assert health.state == "down"

    # ---- secrets ------------------------------------------------------------------------------

    @point(6, "lookup")
    async def test_secrets_stay_secret(self, bench: Bench) -> None:
        """No secret is in a repr or an error, even when the system echoes it."""
        record = self.record(bench.double, "text")
        seen = [repr(bench.connector), repr(vars(bench.connector)), repr(bench.call())]
        for status in (401, 404, 409, 422, 429, 500):
            echo = {"error": " ".join(self.environment.values())}
            await bench.fault(kind="status", status=status, body=echo, retry_after="0")
            with pytest.raises(errors.EdgeError) as raised:
                await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)
            seen.append(repr(raised.value))

        for secret in self.environment.values():
            assert not [text for text in seen if secret in text]

    @point(6, "deliveries")
    def test_no_secret_in_what_is_received(self, connector: Connector) -> None:
        """No secret is in what a delivery means."""
        for sample in connector.samples:
            seen = repr(connector.receive(self.sampled(connector, sample)))
            assert not [secret for secret in self.environment.values() if secret in seen]
