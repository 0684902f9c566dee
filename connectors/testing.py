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

import asyncio
import functools
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import jsonschema_rs
import pytest

from connectors import catalog, open_call
from connectors.bench import KEY, SLOT, Bench, read_on
from connectors.contract import Connector
from connectors.specs import ConnectorSpec
from connectors.testing_bench import PRETENDED
from connectors.testing_deliveries import DeliveriesContract
from connectors.testing_lookups import LookupsContract
from connectors.testing_points import Need, point
from connectors.testing_sources import SourcesContract
from connectors.testing_taking import TakingContract
from connectors.testing_upkeep import UpkeepContract
from connectors.testing_writes import REFUSED_MOST, WritesContract
from penstock import errors
from penstock.clock import SystemClock
from penstock.errors import Invalid
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import MissingSecret

HAS: Mapping[Need, Callable[[ConnectorSpec], bool]] = {
    "deliveries": lambda spec: spec.delivers,
    "actions": lambda spec: bool(spec.actions),
    "sources": lambda spec: bool(spec.sources),
    "both_ways": lambda spec: spec.delivers and bool(spec.sources),
    "text": lambda spec: any("text" in action.takes for action in spec.actions.values()),
    "find": lambda spec: any(action.idempotency == "read-back" for action in spec.actions.values()),
    "lookup": lambda spec: any(not lookup.many for lookup in spec.lookups.values()),
    "listing": lambda spec: any(lookup.many for lookup in spec.lookups.values()),
}
"""What a connector cannot say it lacks when its spec has it."""


WITHIN = 5.0  # seconds in which health is known
LIMIT = 3.0  # seconds a health check is given


class ConnectorContract(
    DeliveriesContract, WritesContract, LookupsContract, SourcesContract, TakingContract, UpkeepContract
):
    """
    What holds for every connector.
    """

    # ---- settings -----------------------------------------------------------------------------

    @point(1)
    def test_what_it_lacks(self) -> None:
        """What a connector says it lacks, it lacks: nobody is exempt from what they do."""
        spec = catalog.spec(self.name, self.settings(PRETENDED))

        assert not [need for need in self.lacks if need in HAS and HAS[need](spec)]

    @point(1)
    def test_what_the_catalog_says(self, connector: Connector) -> None:
        """What is known of it without a connection is what a connection has."""
        spec = catalog.spec(self.name, self.settings(PRETENDED))

        assert connector.events == spec.events
        assert set(connector.sources) == set(spec.sources)
        for name, action in connector.actions.items():
            said = spec.actions[name]
            assert (action.idempotency, action.takes, action.modes) == (said.idempotency, said.takes, said.modes)
            assert (action.sets, action.emits, action.reads) == (said.sets, said.emits, said.reads)
        assert set(connector.actions) == set(spec.actions)
        for name, lookup in connector.lookups.items():
            assert (lookup.fields, lookup.many) == (spec.lookups[name].fields, spec.lookups[name].many)
        assert set(connector.lookups) == set(spec.lookups)

    @point(1)
    def test_settings_fit_their_schema(self) -> None:
        """The schema that editors and `check` use takes these settings, and refuses others."""
        takes = jsonschema_rs.validator_for(dict(catalog.spec(self.name, {}).settings)).is_valid
        settings = self.settings(PRETENDED)

        assert takes(settings)
        assert not takes({**settings, "colour": "red"})

    @point(1)
    def test_unknown_setting(self) -> None:
        """A setting nobody declared is refused by name."""
        with pytest.raises(Invalid, match="'colour'"):
            self.opened_with({**self.settings(PRETENDED), "colour": "red"})

    @point(1)
    def test_settings_left_out(self) -> None:
        """A setting that is needed and left out is refused by name."""
        settings = self.settings(PRETENDED)
        for name in catalog.spec(self.name, {}).settings.get("required", ()):
            with pytest.raises(Invalid, match=name):
                self.opened_with({key: value for key, value in settings.items() if key != name})

    @point(1)
    def test_settings_that_cannot_be(self) -> None:
        """A value that is no text, or does not look like what is wanted, is refused by name."""
        settings = self.settings(PRETENDED)
        for name, schema in catalog.spec(self.name, settings).settings["properties"].items():
            for value in (["x"], "\n ?") if "pattern" in schema else ():
                with pytest.raises(Invalid, match=name):
                    self.opened_with({**settings, name: value})

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
        async with asyncio.timeout(WITHIN):
            health = await bench.connector.health(bench.call())

        assert health.state == "ok"
        assert health.acts_as
        assert bench.connector.acts_as == health.acts_as

    @point(5)
    @point(12)
    async def test_health_with_a_wrong_credential(self) -> None:
        """A wrong credential is `auth`, after few requests."""
        async with self.benched(**{self.credential: "wrong"}) as bench, asyncio.timeout(WITHIN):
            health = await bench.connector.health(bench.call())

            assert health.state == "auth"
            assert 1 <= len(bench.requests()) <= REFUSED_MOST

    @point(5)
    async def test_health_of_what_is_down(self) -> None:
        """A system nobody can reach is `down`; nothing is raised."""
        http = AiohttpHttp()
        async with self.opened(self.nowhere) as connector, asyncio.timeout(WITHIN):
            call = open_call(connector, http, key=KEY, slot=SLOT, timeout=LIMIT, clock=SystemClock())
            health = await connector.health(call)
        await http.close()

        assert health.state == "down"

    @point(5)
    async def test_health_of_what_does_not_answer(self, bench: Bench) -> None:
        """A system that hangs is `down` when the time is over."""
        await bench.fault(kind="hang", seconds=WITHIN - 1, times=3)
        async with asyncio.timeout(WITHIN):
            health = await bench.connector.health(bench.call(timeout=LIMIT / 3))

        assert health.state == "down"

    # ---- secrets ------------------------------------------------------------------------------

    @point(6)
    async def test_secrets_stay_secret(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """No secret is in a repr, an error or a log, even when the system echoes it."""
        caplog.set_level(logging.INFO)
        caplog.set_level(logging.DEBUG, "connectors")
        seen = [repr(bench.connector), repr(vars(bench.connector)), repr(bench.call())]
        record = self.record(bench.double, "text") if self.names("actions") or self.lookup else ""
        for status in (401, 404, 409, 422, 429, 500):
            echo = {"error": " ".join(self.environment.values())}
            for work in self._works(bench, record):
                await bench.fault(kind="status", status=status, body=echo, retry_after="0")
                try:
                    seen.append(repr(await work()))
                except errors.EdgeError as error:
                    seen += [repr(error), *traceback.format_exception(error)]
        seen += [f"{entry.getMessage()} {entry.exc_text}" for entry in caplog.records]

        told = [text for text in seen for secret in self.environment.values() if secret in text]
        assert not told, told[0]

    @point(6, "deliveries")
    def test_no_secret_in_what_is_received(self, connector: Connector) -> None:
        """No secret is in what a delivery means."""
        for sample in connector.samples:
            seen = repr(connector.receive(self.sampled(connector, sample)))
            assert not [secret for secret in self.environment.values() if secret in seen]

    def _works(self, bench: Bench, record: str) -> Iterator[Callable[[], Awaitable[Any]]]:
        """
        Yield all that it can be asked to do.
        """
        connector = bench.connector
        yield lambda: connector.health(bench.call())
        if self.lookup:
            yield lambda: connector.lookups[self.lookup].fetch(record, bench.call(), 1)
        for name, action in connector.actions.items():
            args = self.arguments(name)
            yield functools.partial(action.write, record, args, action.modes[0], bench.call())
        for source in connector.sources.values():
            yield functools.partial(read_on, source, None, bench)
