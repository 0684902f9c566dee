"""
One connection to Salesforce.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from simple_salesforce.api import Salesforce
from simple_salesforce.format import format_external_id, format_soql

from connectors.contract import (
    Action,
    Call,
    Delivery,
    Health,
    JsonSchema,
    Lookup,
    Page,
    Received,
    Record,
    Sample,
    Source,
    WriteMode,
    Written,
)
from connectors.salesforce.changes import TOPIC, Org
from connectors.salesforce.client import USERINFO, Client
from connectors.salesforce.declaration import spec, word
from connectors.salesforce.facts import plain
from connectors.salesforce.pubsub import Subscription
from connectors.salesforce.queries import access, asked, who_we_are
from connectors.settings import Settled
from connectors.specs import made
from penstock.clock import Clock
from penstock.errors import AuthFailed, Crowded, EdgeError, NotFound, Rejected, Unavailable, UnknownOutcome
from penstock.http import Http
from schemas.events import Event

TIMEOUT = 20.0  # seconds
MOST = 200  # records of one lookup
DONE = 204
_ID = re.compile(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?")
TASK = "Task"
PEOPLE = ("003", "00Q")  # ids of contacts and leads: a task is about them in another field


class SalesforceConnector:
    """
    REST through simple-salesforce, changes over the Pub/Sub API or by SOQL.
    """

    name = "salesforce"
    accepts: frozenset[str] = frozenset()
    samples: Sequence[Sample] = ()

    def __init__(self, settled: Settled, clock: Clock) -> None:
        self.acts_as: str | None = None
        self._settings = settled.values
        self._clock = clock
        self._client = Client(settled, clock)
        self._objects: Mapping[str, Mapping[str, Any]] = settled.values["objects"]
        self._names = {word(name): name for name in self._objects}
        declared = spec(settled.values)
        self.events: Mapping[str, JsonSchema] = declared.events
        self._declared = declared
        self._org = Org(
            source=f"https://{self._settings['domain']}.salesforce.com",
            objects=self._objects,
            app=self._settings["app"],
            client=self._client,
            clock=clock,
        )
        self.lookups: Mapping[str, Lookup] = {name: self._lookup(name) for name in declared.lookups}
        self.actions: Mapping[str, Action] = {name: self._action(name) for name in declared.actions}
        reads = {"changes": self._streamed, "polled": self._org.polled}
        self.sources: Mapping[str, Source] = {
            name: Source(name=name, description=source.description, every=source.every, read=reads[name])
            for name, source in declared.sources.items()
        }

    def __repr__(self) -> str:
        return f"<salesforce {self._settings['domain']}>"

    def receive(self, delivery: Delivery) -> Received:
        """
        Refuse: changes are read.
        """
        del delivery
        raise Rejected(f"{self.name!r} takes no deliveries.")

    def own(self, event: Event) -> str | None:
        """
        Return why a change is our own; None when it is not.
        """
        if event.data.get("ours") is True:
            return f"changeOrigin ends in client={self._settings['app']}"
        if self.acts_as is not None and event.actor is not None and event.actor[:15] == self.acts_as[:15]:
            return f"actor={event.actor}"
        return None

    async def health(self, call: Call) -> Health:
        """
        Ask who we are; remembers it.
        """
        started = self._clock.monotonic()
        try:
            who = await self._client.ask(who_we_are, call, what=USERINFO)
        except AuthFailed as error:
            return Health(state="auth", detail=str(error))
        except Unavailable as error:
            asked = error.retry_after is not None or isinstance(error, Crowded)
            return Health(state="degraded" if asked else "down", detail=str(error))
        except EdgeError as error:
            return Health(state="degraded", detail=str(error))
        self.acts_as = str(who.get("user_id") or "") or None
        return Health(
            state="ok" if self.acts_as else "auth",
            detail=f"signed in as {who.get('preferred_username')}",
            acts_as=self.acts_as,
            latency_ms=round((self._clock.monotonic() - started) * 1000),
            quota_left=self._client.quota_left,
        )

    async def close(self) -> None:
        """
        Give connections and threads back.
        """
        await self._client.close()

    # ---- in ---------------------------------------------------------------------------------------

    async def _streamed(self, cursor: bytes | None, call: Call) -> AsyncIterator[Page]:
        async for page in self._org.streamed(cursor, call, self._subscription):
            yield page

    async def _subscription(self, call: Call) -> Subscription:
        who, token, instance = await self._client.ask(access, call, what=USERINFO)
        return Subscription(
            target=self._settings["pubsub"],
            token=token,
            instance=instance,
            tenant=str(who.get("organization_id") or ""),
            topic=TOPIC,
        )

    # ---- lookups ----------------------------------------------------------------------------------

    def _lookup(self, name: str) -> Lookup:
        declared = self._declared.lookups[name]
        rules = self._settings.get("lookups") or {}
        fetch = functools.partial(self._queried, rules[name]) if name in rules else functools.partial(self._one, name)
        return Lookup(
            name=name,
            description=declared.description,
            fields=declared.fields,
            many=declared.many,
            ttl=float(rules.get(name, {}).get("ttl", 0)),
            timeout=TIMEOUT,
            fetch=fetch,
            version=declared.version,
        )

    async def _one(self, short: str, by: str, call: Call, _most: int) -> list[Record]:
        name = self._names[short]
        fields = self._objects[name]["fields"]
        columns = ", ".join(dict.fromkeys(["Id", "SystemModstamp", *fields]))
        query = format_soql(f"SELECT {columns} FROM {name} WHERE Id = {{}} LIMIT 1", _id(by))  # noqa: S608  # names are checked
        answer = await self._client.ask(lambda salesforce: salesforce.query(query), call, what=f"query {name}")
        if not answer["records"]:
            raise NotFound(f"there is no {name} {by!r}")
        record = answer["records"][0]
        found = {"id": record["Id"], "modified": record["SystemModstamp"]}
        return [found | {field: plain(record.get(field)) for field in fields}]

    async def _queried(self, rule: Mapping[str, Any], by: str, call: Call, most: int) -> list[Record]:
        columns = ", ".join(dict.fromkeys(rule["fields"].values()))
        newest = rule.get("newest", "CreatedDate")
        query = format_soql(
            f"SELECT {columns} FROM {rule['object']} WHERE {rule['by']} = {{}} "  # noqa: S608  # names are checked
            f"ORDER BY {newest} DESC LIMIT {min(max(1, most), MOST)}",
            by,
        )
        found = await asked(self._client, query, call, what=f"query {rule['object']}")
        return [{ours: plain(_at(record, theirs)) for ours, theirs in rule["fields"].items()} for record in found]

    # ---- actions ----------------------------------------------------------------------------------

    def _action(self, name: str) -> Action:
        verb, _, short = name.partition("_")
        object_name = self._names.get(short, "")
        writes: Mapping[str, Any] = {
            "update": functools.partial(self._update, object_name),
            "create": functools.partial(self._create, object_name),
            "upsert": functools.partial(self._upsert, object_name),
            "note": self._note,
        }
        find = self._find_note if name == "note" else None
        return made(self._declared.actions[name], timeout=TIMEOUT, write=writes[verb], find=find)

    async def _update(self, name: str, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        fields, number = self._fields(name, args), _id(record)
        status = await self._client.tell(
            lambda salesforce: getattr(salesforce, name).update(number, fields), call, what=f"update {name}"
        )
        if status != DONE:  # something in between answered
            raise UnknownOutcome(f"update {name}: {status} is not how Salesforce says that it is done")
        return self._written(number)

    async def _create(self, name: str, _record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        fields = self._fields(name, args)
        external = self._objects[name].get("external_id")
        if external is not None:
            place = format_external_id(external, call.key)
            return await self._put(name, place, fields, call)
        made = await self._client.tell(
            lambda salesforce: getattr(salesforce, name).create(fields), call, what=f"create {name}"
        )
        if not isinstance(made, Mapping) or not made.get("id"):
            raise UnknownOutcome(f"create {name}: the answer names no record")
        return self._written(str(made["id"]))

    async def _upsert(self, name: str, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        if not record.strip():
            raise Rejected(f"upsert {name}: the record has no {self._objects[name]['upsert_on']}")
        place = format_external_id(self._objects[name]["upsert_on"], record)
        return await self._put(name, place, self._fields(name, args), call)

    async def _put(self, name: str, place: str, fields: Mapping[str, Any], call: Call) -> Written:
        def put(salesforce: Salesforce) -> Any:
            response = getattr(salesforce, name).upsert(place, dict(fields), raw_response=True)
            return response.json() if response.content else {}

        body = await self._client.tell(put, call, what=f"upsert {name}")
        number = str(body.get("id") or "")
        return self._written(number) if number else Written(remote_id=place)

    async def _note(self, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        text, number = str(args.get("text") or "").strip(), _id(record)
        if not text:
            raise Rejected("There is nothing to write.")
        about = "WhoId" if number.startswith(PEOPLE) else "WhatId"
        task = {
            "Subject": f"Note {_mark(call.key)}",
            "Description": text[:32_000],
            "Status": "Completed",
            "ActivityDate": datetime.now(UTC).date().isoformat(),
            about: number,
        }
        made = await self._client.tell(
            lambda salesforce: getattr(salesforce, TASK).create(task), call, what="create Task"
        )
        if not isinstance(made, Mapping) or not made.get("id"):
            raise UnknownOutcome("create Task: the answer names no record")
        return self._written(str(made["id"]))

    async def _find_note(self, record: str, _mode: WriteMode, call: Call) -> Written | None:
        """
        Look for our task. Its subject can be copied, so it has to be one that we made.
        """
        number = _id(record)
        about = "WhoId" if number.startswith(PEOPLE) else "WhatId"
        query = format_soql(
            f"SELECT Id FROM Task WHERE {about} = {{}} AND Subject = {{}} AND CreatedById = {{}} LIMIT 1",  # noqa: S608  # one of two names
            number,
            f"Note {_mark(call.key)}",
            await self._we(call),
        )
        answer = await self._client.ask(lambda salesforce: salesforce.query(query), call, what="query Task")
        if not answer["records"]:
            return None
        found = self._written(str(answer["records"][0]["Id"]))
        return Written(remote_id=found.remote_id, url=found.url, already=True)

    async def _we(self, call: Call) -> str:
        if self.acts_as is None:
            who = await self._client.ask(who_we_are, call, what=USERINFO)
            self.acts_as = str(who.get("user_id") or "") or None
        if self.acts_as is None:
            raise Unavailable("userinfo: Salesforce does not say who we are")
        return self.acts_as

    def _fields(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        fields = dict(args.get("fields") or {})
        if unknown := sorted(set(fields) - set(self._objects[name]["fields"])):
            raise Rejected(f"{unknown[0]!r} is not one of the declared fields of {name}.")
        if not fields:
            raise Rejected("There is nothing to write.")
        return fields

    def _written(self, number: str) -> Written:
        return Written(remote_id=number, url=f"https://{self._settings['domain']}.salesforce.com/{number}")


def open(settled: Settled, *, http: Http, clock: Clock) -> SalesforceConnector:  # noqa: A001  # as the catalog asks for it
    """
    Return one connection to Salesforce.
    """
    del http
    return SalesforceConnector(settled, clock)


def _id(record: str) -> str:
    if not _ID.fullmatch(record):
        raise NotFound(f"{record!r} is no id of Salesforce")
    return record


def _mark(key: str) -> str:
    return f"[penstock:{key[:16]}]"


def _at(record: Mapping[str, Any], path: str) -> Any:
    found: Any = record
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
