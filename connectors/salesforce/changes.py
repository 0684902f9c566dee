"""
From Salesforce's changes to events: by the stream of change events, by polls, and when the stream lost its place.

A change event names the fields that changed; the record itself is read again, in one query for all of a page, so that
conditions and templates see whole records. Ids: `<record>/created` on both ways, `<record>/<transaction>/<sequence>` of a
change event, `<record>/<SystemModstamp>/<digest>` of a change that was found by reading: that time has whole seconds, and the
digest of the fields tells two changes within one apart.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from connectors.contract import Call, Page
from connectors.salesforce.client import Client
from connectors.salesforce.declaration import word
from connectors.salesforce.pubsub import Batch, Change, Stale, Subscription
from penstock.clock import Clock, utc
from penstock.errors import AuthFailed
from schemas.events import Event

log = logging.getLogger(__name__)

TOPIC = "/data/ChangeEvents"
OVERLAP = 120.0  # seconds a change may take until it can be read
PAGE = 500  # records of one query
IN_ONE = 200  # ids of one query
SEEN = 20_000  # states that a cursor remembers
SYSTEM = ("Id", "SystemModstamp", "CreatedDate", "LastModifiedById", "IsDeleted")
VERBS = {"CREATE": "created", "UPDATE": "updated", "DELETE": "deleted", "UNDELETE": "undeleted"}


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
        """
        held = orjson.loads(cursor) if cursor else {"replay": None, "time": None}
        replay = base64.b64decode(held["replay"]) if held["replay"] else None
        try:
            async for page in self._subscribed(replay, call, opened, {}):
                yield page
        except Stale:
            since = datetime.fromisoformat(held["time"]) if held["time"] else utc(self.clock.now_ms())
            log.warning("Salesforce does not know our position any more; reading what changed since %s", since)
            async for page in self._resynced(since, call, opened):
                yield page

    async def _subscribed(
        self, replay: bytes | None, call: Call, opened: Callable[[Call], Any], known: dict[str, datetime]
    ) -> AsyncIterator[Page]:
        subscription: Subscription = await opened(call)
        try:
            async for batch in subscription.read(replay):
                yield await self._page(batch, call, known)
        except AuthFailed:
            self.client.forget()
            raise

    async def _resynced(self, since: datetime, call: Call, opened: Callable[[Call], Any]) -> AsyncIterator[Page]:
        """
        Subscribe at the end first, then read what changed, then go on: nothing falls in between.
        """
        subscription: Subscription = await opened(call)
        batches = subscription.read(None)
        waiting = await anext(batches)  # a keep-alive, or the first changes: from here on nothing is missed
        known: dict[str, datetime] = {}
        for name in self.objects:
            async for records in self._changed_since(name, since - timedelta(seconds=OVERLAP), call):
                known |= {record["Id"]: _time(record["SystemModstamp"]) for record in records}
                yield Page(events=tuple(event for record in records for event in self._found(name, record, since)))
        yield await self._page(waiting, call, known)
        async for batch in batches:
            yield await self._page(batch, call, known)

    async def _page(self, batch: Batch, call: Call, known: Mapping[str, datetime]) -> Page:
        wanted = [change for change in batch.changes if change.header.get("entityName") in self.objects]
        whole = await self._records(wanted, call)
        events: list[Event] = []
        for change in wanted:
            if "*" in "".join(_ids(change)) or change.header["changeType"] == "GAP_OVERFLOW":
                events += await self._gap(change, call)
            else:
                events += [
                    event for record in _ids(change) if (event := self._told(change, record, whole, known)) is not None
                ]
        time = max((_committed(change) for change in batch.changes), default=utc(self.clock.now_ms()))
        cursor = {"replay": base64.b64encode(batch.replay).decode(), "time": time.isoformat()}
        return Page(events=tuple(events), cursor=orjson.dumps(cursor))

    async def _gap(self, change: Change, call: Call) -> list[Event]:
        """
        Read what Salesforce could not tell one by one.
        """
        name, since = change.header["entityName"], _committed(change)
        found: list[Event] = []
        async for records in self._changed_since(name, since - timedelta(seconds=OVERLAP), call):
            found += [event for record in records for event in self._found(name, record, since)]
        return found

    async def _records(self, changes: Sequence[Change], call: Call) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name in {change.header["entityName"] for change in changes}:
            mine = [change for change in changes if change.header["entityName"] == name]
            ids = [
                one for change in mine if not _kind(change).endswith("DELETE") for one in _ids(change) if "*" not in one
            ]
            for start in range(0, len(ids), IN_ONE):
                some = ", ".join(f"'{one}'" for one in ids[start : start + IN_ONE] if one.isalnum())
                if some:
                    query = f"SELECT {self._columns(name)} FROM {name} WHERE Id IN ({some})"  # noqa: S608  # ids are alphanumeric
                    found |= {record["Id"]: record for record in await self._asked(query, call)}
        return found

    def _told(
        self, change: Change, record: str, whole: Mapping[str, Mapping[str, Any]], known: Mapping[str, datetime]
    ) -> Event | None:
        name, kind = change.header["entityName"], _kind(change)
        read = whole.get(record)
        if record in known and _committed(change) < known[record]:
            return None  # it was read already; within one second nobody knows, and twice is better than never
        origin = str(change.header.get("changeOrigin") or "")
        fields = self.objects[name]["fields"]
        told = {field: change.payload.get(field) for field in fields}
        values = {field: read.get(field) for field in fields} if read else told
        gap = change.header["changeType"].startswith("GAP_")
        changed = sorted({flat(one) for one in change.changed} & set(fields)) if kind == "UPDATE" and not gap else []
        number = f"{change.header.get('transactionKey')}/{change.header.get('sequenceNumber')}"
        return Event(
            id=f"{record}/created" if kind == "CREATE" else f"{record}/{number}",
            source=self.source,
            type=f"{word(name)}.{VERBS[kind]}",
            subject=record,
            time=_committed(change),
            actor=change.header.get("commitUser"),
            data={
                "id": record,
                "object": name,
                "changed": changed,
                "origin": origin or None,
                "ours": origin.endswith(f"client={self.app}"),
                "modified": read.get("SystemModstamp") if read else None,
                **{field: _plain(value) for field, value in values.items()},
            },
        )

    # ---- by reading -------------------------------------------------------------------------------

    async def polled(self, cursor: bytes | None, call: Call) -> AsyncIterator[Page]:
        """
        Yield what changed since *cursor*; without one, only that it begins now, with all that is there seen.
        """
        if cursor is None:
            now = utc(self.clock.now_ms())
            there: dict[str, str] = {}
            for name in self.objects:
                async for records in self._changed_since(name, now - timedelta(seconds=OVERLAP), call):
                    there |= _states(records)
            yield Page(cursor=_kept(now.isoformat(), dict.fromkeys(self.objects, now.isoformat()), there))
            return
        held = orjson.loads(cursor)
        begun, times, seen = held["begun"], dict(held["times"]), dict(held["seen"])
        for name in self.objects:
            since = datetime.fromisoformat(times.setdefault(name, begun))
            async for records in self._changed_since(name, since - timedelta(seconds=OVERLAP), call):
                fresh = [record for record in records if _state(record) not in seen]
                before = {state.partition("/")[0] for state in seen}
                seen |= _states(records)
                times[name] = max(times[name], _time(records[-1]["SystemModstamp"]).isoformat())
                events = [
                    event
                    for one in fresh
                    for event in self._found(name, one, datetime.fromisoformat(begun), again=one["Id"] in before)
                ]
                if events:
                    yield Page(events=tuple(events), cursor=_kept(begun, times, seen))

    async def _changed_since(self, name: str, since: datetime, call: Call) -> AsyncIterator[list[dict[str, Any]]]:
        """
        Yield pages of records in the order of (SystemModstamp, Id), deleted ones too.
        """
        where = f"SystemModstamp >= {literal(since)}"
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
            time, last = literal(_time(records[-1]["SystemModstamp"])), records[-1]["Id"]
            where = f"(SystemModstamp > {time} OR (SystemModstamp = {time} AND Id > '{last}'))"

    def _found(self, name: str, record: Mapping[str, Any], begun: datetime, *, again: bool = False) -> list[Event]:
        """
        Return what a record that was read stands for: that it was made, if it is that young, and that it changed.

        One that was never seen and never changed was made, however late it shows. *again*: another state of it was
        read before.
        """
        modified, made = _time(record["SystemModstamp"]), _time(record["CreatedDate"])
        if record.get("IsDeleted"):
            return [self._read(name, record, "deleted", f"{record['Id']}/deleted/{modified.isoformat()}", modified)]
        found = []
        if (made >= begun.replace(microsecond=0) or modified == made) and not again:
            found.append(self._read(name, record, "created", f"{record['Id']}/created", made))
        if modified != made or again:
            number = f"{record['Id']}/{modified.isoformat()}/{_digest(record)}"
            found.append(self._read(name, record, "updated", number, modified))
        return found

    def _read(self, name: str, record: Mapping[str, Any], verb: str, number: str, time: datetime) -> Event:
        return Event(
            id=number,
            source=self.source,
            type=f"{word(name)}.{verb}",
            subject=record["Id"],
            time=time,
            actor=record.get("LastModifiedById"),
            data={
                "id": record["Id"],
                "object": name,
                "changed": [],
                "origin": None,
                "ours": False,
                "modified": record["SystemModstamp"],
                **{field: _plain(record.get(field)) for field in self.objects[name]["fields"]},
            },
        )

    def _columns(self, name: str) -> str:
        return ", ".join(dict.fromkeys([*SYSTEM, *self.objects[name]["fields"]]))

    async def _asked(self, query: str, call: Call, *, deleted: bool = False) -> list[dict[str, Any]]:
        answer = await self.client.ask(
            lambda salesforce: salesforce.query(query, include_deleted=deleted), call, what="query"
        )
        return [dict(record) for record in answer["records"]]


def flat(name: str) -> str:
    """
    Return the field that a nested name stands for: `Name.FirstName` is `FirstName`, `BillingAddress.City` is `BillingCity`.
    """
    outer, dot, inner = name.partition(".")
    if not dot:
        return name
    return outer.removesuffix("Address") + inner if outer.endswith("Address") else inner


def literal(time: datetime) -> str:
    """
    Return a time as SOQL writes it: whole seconds of UTC.
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ids(change: Change) -> list[str]:
    return [str(one) for one in change.header.get("recordIds") or ()]


def _kind(change: Change) -> str:
    return str(change.header["changeType"]).removeprefix("GAP_")


def _committed(change: Change) -> datetime:
    return datetime.fromtimestamp(int(change.header.get("commitTimestamp") or 0) / 1000, UTC)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("+0000", "+00:00")).astimezone(UTC)


def _states(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {_state(record): _time(record["SystemModstamp"]).isoformat() for record in records}


def _state(record: Mapping[str, Any]) -> str:
    return f"{record['Id']}/{record['SystemModstamp']}/{_digest(record)}"


def _digest(record: Mapping[str, Any]) -> str:
    values = {name: value for name, value in record.items() if name != "attributes"}
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS, default=dict)).hexdigest()[:12]


def _kept(begun: str, times: Mapping[str, str], seen: Mapping[str, str]) -> bytes:
    oldest = (datetime.fromisoformat(min(times.values())) - timedelta(seconds=OVERLAP)).isoformat()
    kept = dict([(state, time) for state, time in seen.items() if time >= oldest][-SEEN:])
    return orjson.dumps({"begun": begun, "times": dict(times), "seen": kept})


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if isinstance(value, str) and len(value) > LONGEST:
        return value[:LONGEST] + " […]"
    return value


LONGEST = 20_000  # characters of one field
