"""
The connector a manifest makes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from connectors.addresses import names_in
from connectors.budget import UNLIMITED, Budget
from connectors.calling import answer
from connectors.contract import (
    Action,
    Call,
    Delivery,
    Health,
    JsonSchema,
    Lookup,
    Received,
    Record,
    Reply,
    Sample,
    Source,
    WriteMode,
    Written,
)
from connectors.edge import Edge
from connectors.formulas import Scope, needed, truth, value
from connectors.manifest import Manifest, SampleRule
from connectors.mapping import events_of, left_out
from connectors.polling import Poll, spoken
from connectors.reading import fetch
from connectors.settings import Settled
from connectors.tokens import Tokens
from connectors.verification import verify
from connectors.writing import Writing
from penstock.clock import Clock, utc
from penstock.destinations import Reach
from penstock.errors import AuthFailed, Crowded, EdgeError, Rejected, Unavailable
from penstock.http import Http
from schemas.events import Event

JSON = frozenset({"application/json"})


class DeclaredConnector:
    """
    One connection to a system that is described by a manifest.
    """

    def __init__(
        self,
        manifest: Manifest,
        folder: Path,
        settled: Settled,
        clock: Clock,
        http: Http | None = None,
        reach: Callable[[], Reach | None] = lambda: None,
    ) -> None:
        """
        *http* is needed by those whose credential is a token that has to be fetched; *reach* bounds every request.
        """
        oauth2 = manifest.auth.oauth2
        self._tokens = None if oauth2 is None or http is None else Tokens(oauth2, settled, http, clock, reach)
        self.name = manifest.name
        self.acts_as: str | None = None
        self.events: Mapping[str, JsonSchema] = manifest.event_schemas
        self.manifest = manifest
        self.accepts = JSON
        self.samples: Sequence[Sample] = tuple(_sample(rule, folder) for rule in manifest.samples)
        self._settled = settled
        self._clock = clock
        self._proof: tuple[tuple[str, ...], list[Mapping[str, str]]] | None = None
        """The headers of every request, and the secrets they were made with."""
        self._told: tuple[list[str], list[str]] | None = None
        """Every secret, and with them what such headers say."""
        self.edge = Edge(
            settled.values[manifest.url],
            headers=self._headers,
            secrets=self._secrets,
            renew=self._renew,
            rules=manifest.errors,
            budget=Budget(manifest.budget or UNLIMITED, clock),
            clock=clock,
            ready=self._tokens.ready if self._tokens is not None else None,
            reach=reach,
        )
        self._budgets: dict[str, Budget] = {}
        """What polls are limited to apart, by its name: they may share it."""
        self.sources: Mapping[str, Source] = {
            name: self._source(name) for name, rule in manifest.polls.items() if rule.wanted(settled.values)
        }
        self.lookups: Mapping[str, Lookup] = {name: self._lookup(name) for name in manifest.lookups}
        self.actions: Mapping[str, Action] = {
            name: self._action(name)
            for name, rule in manifest.actions.items()
            if rule.needs is None or rule.needs in settled.values
        }

    def __repr__(self) -> str:
        return f"<{self.name} at {self.edge.base_url}>"

    # ---- in -----------------------------------------------------------------------------------

    def receive(self, delivery: Delivery) -> Received:
        """
        Verify and translate one delivery. Raises `Forged` or `Rejected`.
        """
        rule = self.manifest.verify
        if rule is None:
            raise Rejected(f"{self.name!r} takes no deliveries.")
        verify(rule, delivery, self._settled.secrets(rule.secret), self._settled.values)
        return self.translate(delivery.body)

    def translate(self, body: bytes) -> Received:
        """
        Return what a body means whose sender is known already. Raises `Rejected`.
        """
        try:
            data = orjson.loads(body)
        except ValueError as error:
            raise Rejected(f"The body is not JSON: {error}") from error
        scope = {"body": data, "settings": self._settled.values}
        for handshake in self.manifest.handshakes:
            if truth(handshake.when, scope):
                if handshake.reply is None:
                    return Received(ignored=handshake.ignore)
                reply = handshake.reply
                text = needed(reply.text, scope, "answer").encode()
                return Received(
                    reply=Reply(status=reply.status, headers={"content-type": reply.content_type}, body=text)
                )
        if self.manifest.recognise is not None and not truth(self.manifest.recognise, scope):
            raise Rejected(f"The body is not a delivery of {self.name!r}.")
        events = tuple(event for rule in self.manifest.events for event in events_of(rule, scope))
        if not events:
            why = next((said for rule in self.manifest.events if (said := left_out(rule, scope))), None)
            return Received(ignored=why or f"{self.name!r} makes no event of this kind of delivery.")
        return Received(events=events)

    def own(self, event: Event) -> str | None:
        """
        Return why *event* is our own write; None when it is not.
        """
        scope = {"event": event.plain, "acts_as": self.acts_as, "settings": self._settled.values}
        for rule in self.manifest.own:
            if truth(rule, scope):
                by_actor = self.acts_as is not None and event.actor == self.acts_as
                return f"actor={event.actor}" if by_actor else rule.text
        return None

    # ---- out ----------------------------------------------------------------------------------

    async def health(self, call: Call) -> Health:
        """
        Make one cheap authenticated read; remembers who we are.
        """
        started = self._clock.monotonic()
        try:
            who, scope = await self._whoami(call)
        except (AuthFailed, Rejected) as error:  # who may not ask who they are may do nothing
            return Health(state="auth", detail=str(error))
        except Unavailable as error:
            there = error.retry_after is not None or isinstance(error, Crowded)
            return Health(state="degraded" if there else "down", detail=str(error))
        except EdgeError as error:
            return Health(state="degraded", detail=str(error))
        if who is None:
            return Health(state="auth", detail=f"{self.name} does not know whose credential this is.")
        return Health(
            state="ok",
            detail=str(value(self.manifest.health.detail, scope) or ""),
            acts_as=who,
            latency_ms=round((self._clock.monotonic() - started) * 1000),
            quota_left=self.edge.budget.quota_left,
        )

    async def close(self) -> None:
        """
        Do nothing: its requests go over the HTTP seam.
        """

    async def _whoami(self, call: Call) -> tuple[str | None, Scope]:
        """
        Ask who we are, and remember it; return it with what was answered. None: the system does not say.
        """
        rule = self.manifest.health
        response = await call.send("GET", rule.get)
        body = answer(response, f"GET {rule.get}", write=False)
        scope = {"body": body, "headers": response.headers, "settings": self._settled.values}
        who = value(rule.acts_as, scope)
        if not isinstance(who, str) or not who:
            return None, scope
        self.acts_as = who
        return who, scope

    async def _know_ourselves(self, name: str, call: Call) -> None:
        """
        Ask who we are where a write of ours is known by that: anybody may have copied our marker.
        """
        safe = self.manifest.actions[name].idempotency
        if self.acts_as is not None or safe is None or safe.mine is None:
            return
        try:
            who, _ = await self._whoami(call)
        except Rejected as error:  # no record's fault
            raise AuthFailed(str(error)) from error
        if who is None:
            raise AuthFailed(f"{self.name} does not know whose credential this is.")

    def _source(self, name: str) -> Source:
        rule = self.manifest.polls[name]
        budget = None
        if rule.budget is not None:
            budget = self._budgets.setdefault(rule.budget.name, Budget(rule.budget, self._clock))
        poll = Poll(name=name, rule=rule, settings=self._settled.values, clock=self._clock, budget=budget)
        return Source(name=name, description=rule.description, every=rule.every, read=poll.read)

    def _lookup(self, name: str) -> Lookup:
        rule = self.manifest.lookups[name]
        return Lookup(
            name=name,
            description=rule.description,
            fields={field: declared.json_schema for field, declared in rule.fields.items()},
            many=rule.records is not None,
            ttl=rule.ttl,
            timeout=rule.timeout,
            fetch=functools.partial(self._fetch, name),
            version=rule.version,
        )

    async def _fetch(self, name: str, by: str, call: Call, most: int) -> list[Record]:
        scope = {"by": by, "most": max(1, most), "settings": self._settled.values}
        return await fetch(self.manifest.lookups[name], call, scope, {"by": by, **self._names(by)})

    def _action(self, name: str) -> Action:
        rule = self.manifest.actions[name]
        safe = rule.idempotency
        return Action(
            name=name,
            description=rule.description,
            idempotency=rule.action_class,
            takes=rule.takes,
            modes=rule.modes,
            sets=rule.sets,
            emits=rule.emits,
            touches=rule.touched(self._settled.values),
            reads=rule.reads,
            key_lifetime=safe.lifetime if safe is not None else None,
            timeout=rule.timeout,
            write=functools.partial(self._write, name),
            find=functools.partial(self._find, name) if safe is not None and safe.look is not None else None,
        )

    async def _write(self, name: str, record: str, args: Mapping[str, Any], mode: WriteMode, call: Call) -> Written:
        if mode == "replace-own":
            await self._know_ourselves(name, call)
        return await self._writing(name, record).write(args, mode, call)

    async def _find(self, name: str, record: str, _mode: WriteMode, call: Call) -> Written | None:
        await self._know_ourselves(name, call)
        return await self._writing(name, record).find(call)

    def _writing(self, name: str, record: str) -> Writing:
        parts = self._names(record)
        scope = {
            "settings": self._settled.values,
            "acts_as": self.acts_as,
            "record": record,
            "record_parts": parts,
            "now": spoken(utc(self._clock.now_ms()), self._clock),
        }
        names = {"record": record, **parts}
        return Writing(name=name, rule=self.manifest.actions[name], scope=scope, names=names)

    def _names(self, record: str) -> dict[str, str]:
        return names_in(record, self.manifest.records)

    async def _renew(self) -> None:
        if self._tokens is not None:
            await self._tokens.renew()
        elif self.manifest.auth.setting is not None:
            await self._settled.renew(self.manifest.auth.setting)

    def _headers(self) -> list[Mapping[str, str]]:
        auth = self.manifest.auth
        if self._tokens is not None:
            live: tuple[str, ...] = tuple(self._tokens.known[:1])
        else:
            live = self._settled.secrets(auth.setting) if auth.setting is not None else ()
        if self._proof is None or self._proof[0] != live:
            proofs = [{"authorization": f"Bearer {token}"} for token in live] if self._tokens else None
            self._proof = live, [{**self.manifest.headers, **one} for one in proofs or auth.headers(self._settled)]
        return self._proof[1]

    def _secrets(self) -> list[str]:
        revealed = [*self._settled.revealed(), *(self._tokens.known if self._tokens else ())]
        if self._told is None or self._told[0] != revealed:
            self._told = revealed, [*self.manifest.auth.told(self._settled), *revealed]
        return self._told[1]


def _sample(rule: SampleRule, folder: Path) -> Sample:
    body = (folder / rule.body).read_bytes()
    return Sample(name=rule.name, headers=rule.headers, body=body, events=rule.events)
