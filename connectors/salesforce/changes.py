"""
From Salesforce's changes to events: by the stream of change events, by polls, and when the stream lost its place.

A change event names the fields that changed; the record itself is read again, in one query for all of a page, so that
conditions and templates see whole records. Ids: `<record>/created` on both ways, `<record>/<transaction>/<sequence>` of a
change event, `<record>/<SystemModstamp>/<digest>` of a change that was found by reading: that time has whole seconds, and the
digest of the fields tells two changes within one apart.
"""

from __future__ import annotations

import base64
import functools
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from connectors.contract import Call, Page
from connectors.odd import reason
from connectors.salesforce import facts
from connectors.salesforce.client import Client
from connectors.salesforce.declaration import word
from connectors.salesforce.facts import OVERLAP
from connectors.salesforce.pubsub import Batch, Change, Stale, Subscription
from connectors.salesforce.queries import asked
from penstock.clock import Clock, utc
from penstock.errors import AuthFailed
from schemas.events import Event

log = logging.getLogger(__name__)

TOPIC = "/data/ChangeEvents"
PAGE = 500  # records of one query
IN_ONE = 200  # ids of one query
SYSTEM = ("Id", "SystemModstamp", "CreatedDate", "CreatedById", "LastModifiedById", "IsDeleted")
VERBS = {"CREATE": "created", "UPDATE": "updated", "DELETE": "deleted", "UNDELETE": "undeleted"}


@dataclass(slots=True)
class Found:
    """
    What becomes of changes, and what of them cannot be the events they are declared to be.
    """

    source: str
    events: list[Event] = field(default_factory=list)
    refused: list[tuple[Event, str]] = field(default_factory=list)

    def add(self, make: Callable[[], list[Event]], number: str, name: str, record: str, time: datetime) -> None:
        """
        Add the events that *make* makes of a change; an odd one holds up none of the others.
        """
        try:
            self.events += make()
        except (ValueError, TypeError, KeyError) as error:
            kind = f"{word(name)}.updated"
            odd = Event(id=number, source=self.source, type=kind, subject=record or "?", time=time, data={})
            self.refused.append((odd, f"{name} {record!r}: {reason(error)}"))

    def page(self, cursor: bytes | None = None) -> Page:
        """
        Return all of it as a page, and begin anew.
        """
        page = Page(events=tuple(self.events), refused=tuple(self.refused), cursor=cursor)
        self.events, self.refused = [], []
        return page


@dataclass(frozen=True, slots=True, kw_only=True)
class Org:
    """
    What the changes of an org are made of.
    """

    source: str
    objects: Mapping[str, Mapping[str, Any]]
    app: str
    client: Client
    clock: Clock

    # ---- by the stream ----------------------------------------------------------------------------

    async def streamed(self, cursor: bytes | None, call: Call, opened: Callable[[Call], Any]) -> AsyncIterator[Page]:
        """
        Yield the changes after *cursor*; when Salesforce does not know it any more, what changed since then is read.

        The first page says when it begins: the first answer of the stream may take minutes, and a reading that ends
        before it goes on from there.
        """
        held = orjson.loads(cursor) if cursor else {"replay": None, "time": None}
        now = utc(self.clock.now_ms())
        since = datetime.fromisoformat(held["time"]) if held["time"] else now
        there: dict[str, str] = {}
        if cursor is None:
            there = await self._there(now, call)
            yield Page(cursor=_place(None, now))
        try:
            async for page in self._after(held["replay"], since, call, opened, there):
                yield page
        except AuthFailed:
            self.client.forget()
            raise

    async def _after(
        self, replay: str | None, since: datetime, call: Call, opened: Callable[[Call], Any], there: Mapping[str, str]
    ) -> AsyncIterator[Page]:
        try:
            if replay:
                async for page in self._subscribed(base64.b64decode(replay), call, opened):
                    yield page
                return
        except Stale:
            log.warning("Salesforce does not know our position any more; reading what changed since %s", since)
        async for page in self._resynced(since, call, opened, there):
            yield page

    async def _subscribed(self, replay: bytes, call: Call, opened: Callable[[Call], Any]) -> AsyncIterator[Page]:
        subscription: Subscription = await opened(call)
        async for batch in subscription.read(replay):
            async for page in self._pages(batch, call, {}):
                yield page

    async def _resynced(
        self, since: datetime, call: Call, opened: Callable[[Call], Any], there: Mapping[str, str]
    ) -> AsyncIterator[Page]:
        """
        Subscribe at the end first, then read what changed, but not what was *there*, then go on: nothing falls in between.
        """
        subscription: Subscription = await opened(call)
        batches = subscription.read(None)
        waiting = await anext(batches)  # a keep-alive, or the first changes: from here on nothing is missed
        known: dict[str, datetime] = {}
        for name in self.objects:
            async for page in self._read_since(name, since, call, known, there):
                yield page
        async for page in self._pages(waiting, call, known):
            yield page
        async for batch in batches:
            async for page in self._pages(batch, call, known):
                yield page

    async def _pages(self, batch: Batch, call: Call, known: Mapping[str, datetime]) -> AsyncIterator[Page]:
        """
        Yield what a batch tells; the last page has the position behind all of it.
        """
        wanted = [change for change in batch.changes if change.header.get("entityName") in self.objects]
        whole = await self._records(wanted, call)
        found = Found(self.source)
        for change in wanted:
            name, time = change.header["entityName"], facts.committed(change)
            if "*" in "".join(facts.ids(change)) or change.header.get("changeType") == "GAP_OVERFLOW":
                yield found.page()
                async for page in self._read_since(
                    name, time, call, {}, {}
                ):  # what Salesforce could not tell one by one
                    yield page
                continue
            number = f"{change.header.get('transactionKey')}/{change.header.get('sequenceNumber')}"
            for record in facts.ids(change):
                make = functools.partial(self._told, change, number, record, whole, known)
                found.add(make, f"{record}/{number}", name, record, time)
        time = max((facts.committed(change) for change in batch.changes), default=utc(self.clock.now_ms()))
        yield found.page(_place(batch.replay, time))

    async def _read_since(
        self, name: str, since: datetime, call: Call, known: dict[str, datetime], there: Mapping[str, str]
    ) -> AsyncIterator[Page]:
        """
        Yield what changed since a commit, which tells its records in *known*: they were written before it.

        States that were *there* before are passed.
        """
        begun = since - timedelta(seconds=OVERLAP)
        before = {state.partition("/")[0] for state in there}
        async for records in self._changed_since(name, begun, call):
            found = Found(self.source)
            for record in records:
                if facts.state(record) not in there:
                    known[record["Id"]] = facts.instant(record["SystemModstamp"])
                    self._gather(found, name, record, begun, again=record["Id"] in before)
            if found.events or found.refused:
                yield found.page()

    async def _there(self, now: datetime, call: Call) -> dict[str, str]:
        """
        Return the states that are there as a reading begins, as far as a later one looks back.
        """
        there: dict[str, str] = {}
        for name in self.objects:
            async for records in self._changed_since(name, now - timedelta(seconds=OVERLAP), call):
                there |= facts.states(records)
        return there

    async def _records(self, changes: Sequence[Change], call: Call) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name in {change.header["entityName"] for change in changes}:
            mine = [change for change in changes if change.header["entityName"] == name]
            ids = [
                one
                for change in mine
                if not facts.kind(change).endswith("DELETE")
                for one in facts.ids(change)
                if "*" not in one
            ]
            for start in range(0, len(ids), IN_ONE):
                some = ", ".join(f"'{one}'" for one in ids[start : start + IN_ONE] if one.isalnum())
                if some:
                    query = f"SELECT {self._columns(name)} FROM {name} WHERE Id IN ({some})"  # noqa: S608  # ids are alphanumeric
                    found |= {record["Id"]: record for record in await self._asked(query, call)}
        return found

    def _told(
        self,
        change: Change,
        number: str,
        record: str,
        whole: Mapping[str, Mapping[str, Any]],
        known: Mapping[str, datetime],
    ) -> list[Event]:
        name, kind = change.header["entityName"], facts.kind(change)
        read = whole.get(record)
        if record in known and facts.committed(change) < known[record]:
            return []  # it was read already; within one second nobody knows, and twice is better than never
        origin = str(change.header.get("changeOrigin") or "")
        fields = self.objects[name]["fields"]
        told = {field: change.payload.get(field) for field in fields}
        values = {field: read.get(field) for field in fields} if read else told
        gap = change.header["changeType"].startswith("GAP_")
        changed = sorted(facts.named(change.changed) & set(fields)) if kind == "UPDATE" and not gap else []
        event = Event(
            id=f"{record}/created" if kind == "CREATE" else f"{record}/{number}",
            source=self.source,
            type=f"{word(name)}.{VERBS[kind]}",
            subject=record,
            time=facts.committed(change),
            actor=change.header.get("commitUser"),
            data={
                "id": record,
                "object": name,
                "changed": changed,
                "origin": origin or None,
                "ours": origin.endswith(f"client={self.app}"),
                "modified": read.get("SystemModstamp") if read else None,
                **{field: facts.plain(value) for field, value in values.items()},
            },
        )
        return [event]

    # ---- by reading -------------------------------------------------------------------------------

    async def polled(self, cursor: bytes | None, call: Call) -> AsyncIterator[Page]:
        """
        Yield what changed since *cursor*; without one, only that it begins now, with all that is there seen.
        """
        if cursor is None:
            now = utc(self.clock.now_ms())
            there = await self._there(now, call)
            yield Page(cursor=facts.kept(now.isoformat(), dict.fromkeys(self.objects, now.isoformat()), there))
            return
        held = orjson.loads(cursor)
        begun, times, seen = held["begun"], dict(held["times"]), dict(held["seen"])
        for name in self.objects:
            since = datetime.fromisoformat(times.setdefault(name, begun))
            async for records in self._changed_since(name, since - timedelta(seconds=OVERLAP), call):
                fresh = [record for record in records if facts.state(record) not in seen]
                before = {state.partition("/")[0] for state in seen}
                seen |= facts.states(records)
                times[name] = max(times[name], facts.instant(records[-1]["SystemModstamp"]).isoformat())
                found = Found(self.source)
                for one in fresh:
                    self._gather(found, name, one, datetime.fromisoformat(begun), again=one["Id"] in before)
                if fresh:
                    yield found.page(facts.kept(begun, times, seen))

    async def _changed_since(self, name: str, since: datetime, call: Call) -> AsyncIterator[list[dict[str, Any]]]:
        """
        Yield pages of records in the order of (SystemModstamp, Id), deleted ones too.
        """
        where = f"SystemModstamp >= {facts.literal(since)}"
        while True:
            query = (
                f"SELECT {self._columns(name)} FROM {name} WHERE {where} "  # noqa: S608  # names are checked, values are times and ids
                f"ORDER BY SystemModstamp, Id LIMIT {PAGE}"
            )
            records = await self._asked(query, call, deleted=True)
            if records:
                yield records
            if len(records) < PAGE:
                return
            time, last = facts.literal(facts.instant(records[-1]["SystemModstamp"])), records[-1]["Id"]
            where = f"(SystemModstamp > {time} OR (SystemModstamp = {time} AND Id > '{last}'))"

    def _gather(
        self, found: Found, name: str, record: Mapping[str, Any], begun: datetime, *, again: bool = False
    ) -> None:
        modified = facts.instant(record["SystemModstamp"])
        number = f"{record['Id']}/{modified.isoformat()}/{facts.digest(record)}"
        found.add(lambda: self._found(name, record, begun, again=again), number, name, record["Id"], modified)

    def _found(self, name: str, record: Mapping[str, Any], begun: datetime, *, again: bool = False) -> list[Event]:
        """
        Return what a record that was read stands for: that it was made, if it is that young, and that it changed.

        One that was never seen and never changed was made, however late it shows. *again*: another state of it was
        read before.
        """
        modified, made = facts.instant(record["SystemModstamp"]), facts.instant(record["CreatedDate"])
        if record.get("IsDeleted"):
            return [self._read(name, record, "deleted", f"{record['Id']}/deleted/{modified.isoformat()}", modified)]
        found = []
        if (made >= begun.replace(microsecond=0) or modified == made) and not again:
            found.append(self._read(name, record, "created", f"{record['Id']}/created", made))
        if modified != made or again:
            number = f"{record['Id']}/{modified.isoformat()}/{facts.digest(record)}"
            found.append(self._read(name, record, "updated", number, modified))
        return found

    def _read(self, name: str, record: Mapping[str, Any], verb: str, number: str, time: datetime) -> Event:
        return Event(
            id=number,
            source=self.source,
            type=f"{word(name)}.{verb}",
            subject=record["Id"],
            time=time,
            actor=record.get("CreatedById" if verb == "created" else "LastModifiedById"),
            data={
                "id": record["Id"],
                "object": name,
                "changed": [],
                "origin": None,
                "ours": False,
                "modified": record["SystemModstamp"],
                **{field: facts.plain(record.get(field)) for field in self.objects[name]["fields"]},
            },
        )

    def _columns(self, name: str) -> str:
        return ", ".join(dict.fromkeys([*SYSTEM, *self.objects[name]["fields"]]))

    async def _asked(self, query: str, call: Call, *, deleted: bool = False) -> list[dict[str, Any]]:
        return await asked(self.client, query, call, what="query", deleted=deleted)


def _place(replay: bytes | None, time: datetime) -> bytes:
    """
    Return the cursor of a stream: a position, or only the time from which it would have to read.
    """
    written = None if replay is None else base64.b64encode(replay).decode()
    return orjson.dumps({"replay": written, "time": time.isoformat()})
