"""
What every lookup does.
"""

from __future__ import annotations

import jsonschema_rs
import orjson
import pytest

from connectors.bench import NASTY, Bench
from connectors.testing_bench import OnBench
from connectors.testing_points import point
from connectors.testing_portrait import Fault
from connectors.testing_writes import REFUSED_MOST
from penstock import errors
from penstock.http import MAX_ANSWER

LARGE = 1_000_000  # characters


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

    @point(13, "listing")
    async def test_no_more_than_asked_for(self, bench: Bench) -> None:
        """A list is as long as it was asked for."""
        record = self.record(bench.double, "text")
        for number in range(3) if "text" not in self.lacks else ():
            await self.write(bench, record, f"text {number}", key=str(number) * 64)
        fetch = bench.connector.lookups[self.listing].fetch
        every = len(await fetch(record, bench.call(), 50))

        assert every > 1
        assert [len(await fetch(record, bench.call(), most)) for most in (1, every - 1)] == [1, every - 1]

    @point(13, "lookup")
    async def test_text_is_read_unchanged(self, bench: Bench) -> None:
        """Braces, quotes, newlines and emoji come from the system as they are."""
        record = self.record(bench.double, NASTY)
        found = await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)

        assert self.main_text(found[0]) == self.seen(NASTY)

    @point(13, "text")
    async def test_text_is_written_unchanged(self, bench: Bench) -> None:
        """They arrive in the system as they were, too; how a line ends is the system's own."""
        record = self.record(bench.double, "text")
        await self.write(bench, record, NASTY)

        assert self.written(bench.double, record)[0].replace("\r\n", "\n").startswith(NASTY.replace("\r\n", "\n"))

    @point(13, "lookup")
    @pytest.mark.parametrize("size", [LARGE, MAX_ANSWER + LARGE])
    async def test_large_records(self, bench: Bench, size: int) -> None:
        """A record of a megabyte is read, and one beyond all bounds is refused or cut."""
        record = self.record(bench.double, "x" * size)
        try:
            found = await bench.connector.lookups[self.lookup].fetch(record, bench.call(timeout=30.0), 1)
        except errors.EdgeError:
            assert size > MAX_ANSWER
        else:
            assert len(orjson.dumps(found)) <= MAX_ANSWER

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

    @point(12, "lookup", "rotation")
    async def test_a_read_in_a_rotation(self) -> None:
        """While the system does not know the new credential yet, the one before is tried at once."""
        async with self.benched(NEWER="not-known-yet") as bench:
            record = self.record(bench.double, "text")

            assert await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)
            assert bench.refused(), "the new one was tried"

    @point(12, "lookup")
    async def test_a_read_whose_credential_is_refused(self, bench: Bench) -> None:
        """A credential that is refused for good costs at most three requests."""
        record = self.record(bench.double, "text")
        await self.refuse(bench)
        with pytest.raises(errors.AuthFailed):
            await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)

        assert 1 <= len(bench.requests()) <= REFUSED_MOST
