"""
The tests every connector inherits.

    class TestZendesk(ConnectorContract):
        name = "zendesk"
        ...

They drive the connector over real HTTP against its double, break the double in every way it knows,
and never look inside either. A connector without a text action leaves `action` empty.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from connectors import catalog, open_call
from connectors.bench import KEY, NASTY, SLOT, Bench
from connectors.testing_deliveries import DeliveriesContract
from connectors.testing_writes import WritesContract
from penstock import errors
from penstock.clock import SystemClock
from penstock.errors import Invalid
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import MissingSecret, Secrets


class ConnectorContract(DeliveriesContract, WritesContract):
    """
    What holds for every connector described by a manifest.
    """

    # ---- settings -----------------------------------------------------------------------------

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

    def test_missing_secrets_are_listed_together(self) -> None:
        """Every unset reference is named in one error."""
        gone = dict.fromkeys(self.environment, "")
        with pytest.raises(MissingSecret) as raised:
            self.connect(**gone)

        assert self.credential in str(raised.value)
        assert "HOOK" in str(raised.value)

    def test_old_secret_may_be_gone(self) -> None:
        """After a rotation the old secret's reference may lead nowhere."""
        assert self.connect(HOOK_OLD="").name == self.name

    # ---- health -------------------------------------------------------------------------------

    async def test_health(self, bench: Bench) -> None:
        """A good credential is `ok` and tells who we are."""
        health = await bench.connector.health(bench.call())

        assert health.state == "ok"
        assert health.acts_as
        assert bench.connector.acts_as == health.acts_as

    async def test_health_with_a_wrong_credential(self) -> None:
        """A wrong credential is `auth`, after one request."""
        async with self.benched(**{self.credential: "wrong"}) as bench:
            health = await bench.connector.health(bench.call())

            assert health.state == "auth"
            assert len(bench.double.calls) == 1

    async def test_health_of_what_is_down(self) -> None:
        """A system nobody can reach is `down`; nothing is raised."""
        http = AiohttpHttp()
        connector = self.connect("http://127.0.0.1:9")
        call = open_call(connector, http, key=KEY, slot=SLOT, timeout=3.0, clock=SystemClock())
        health = await connector.health(call)
        await http.close()

        assert health.state == "down"

    # ---- secrets ------------------------------------------------------------------------------

    async def test_secrets_stay_secret(self, bench: Bench) -> None:
        """No secret is in a repr, an error or an event, even when the system echoes it."""
        record = self.record(bench.double, "text")
        seen = [repr(bench.connector), repr(vars(bench.connector)), repr(bench.call())]
        for status in (401, 404, 409, 422, 429, 500):
            echo = {"error": " ".join(self.environment.values())}
            await bench.fault(kind="status", status=status, body=echo, retry_after="0")
            with pytest.raises(errors.EdgeError) as raised:
                await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)
            seen.append(repr(raised.value))
        found = self.connect()
        seen += [repr(found.receive(self.delivery(found, sample.body))) for sample in found.samples]

        for secret in self.environment.values():
            assert not [text for text in seen if secret in text]

    # ---- lookups ------------------------------------------------------------------------------

    async def test_only_declared_fields(self, bench: Bench) -> None:
        """A lookup returns its declared fields and no other, of the declared types."""
        record = self.record(bench.double, "text")
        await self.write(bench, record)
        for name in (self.lookup, self.listing):
            lookup = bench.connector.lookups[name]
            found = await lookup.fetch(record, bench.call(), 5)

            assert found
            for item in found:
                assert set(lookup.fields) == set(item)
                for field_name, schema in lookup.fields.items():
                    jsonschema_rs.validator_for(dict(schema)).validate(item[field_name])

    async def test_text_comes_through_unchanged(self, bench: Bench) -> None:
        """Braces, quotes, newlines and emoji arrive in the system and come back as they were."""
        record = self.record(bench.double, NASTY)
        found = await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)
        await self.write(bench, record, NASTY)

        assert self.main_text(found[0]) == NASTY
        assert self.written(bench.double, record)[0].startswith(NASTY)

    async def test_unknown_records(self, bench: Bench) -> None:
        """Ids that no record has are `NotFound`, and paths made of them never leave their place."""
        for record in ("999999999", "..", "../../x", "a/b/issues/999999", "", "a/../issues/1", "?x=1", "1#x", "a b/c"):
            with pytest.raises(errors.NotFound):
                await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ({"kind": "status", "status": 401}, errors.AuthFailed),
            ({"kind": "status", "status": 403}, errors.AuthFailed),
            ({"kind": "status", "status": 404}, errors.NotFound),
            ({"kind": "status", "status": 409}, errors.Conflict),
            ({"kind": "status", "status": 418}, errors.Rejected),
            ({"kind": "status", "status": 301}, errors.Rejected),
            ({"kind": "status", "status": 500}, errors.Unavailable),
            ({"kind": "status", "status": 503}, errors.Unavailable),
            ({"kind": "drop-before"}, errors.Unavailable),
            ({"kind": "garbage"}, errors.Unavailable),
            ({"kind": "hang", "seconds": 2}, errors.Unavailable),
        ],
    )
    async def test_failing_reads(self, bench: Bench, fault: dict[str, Any], error: type[Exception]) -> None:
        """Each way a read can fail has its error, after exactly one request."""
        record = self.record(bench.double, "text")
        await bench.fault(**fault)
        with pytest.raises(error):
            await bench.connector.lookups[self.lookup].fetch(record, bench.call(timeout=1.0), 1)

        assert len(bench.double.calls) <= 1
