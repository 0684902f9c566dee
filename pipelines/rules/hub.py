"""
The hub can stand where it is put.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from penstock.secrets import is_reference
from pipelines import addresses
from pipelines.declaration import KafkaSecurity
from pipelines.findings import Finding
from pipelines.rules.registry import rule
from pipelines.suggestions import closest
from pipelines.survey import Survey

_SERVERS = ("postgresql://", "postgres://")
_SERVER = re.compile(r"(\[[0-9a-fA-F:]+\]|[0-9A-Za-z._-]+):[0-9]{1,5}")


@rule("hub/timezone")
def timezone(survey: Survey) -> Iterator[Finding]:
    """
    The time zone exists.
    """
    name = survey.declaration.hub.timezone
    known = zoneinfo.available_timezones()
    if name not in known:
        near = closest(name, known)
        hint = f"did you mean {near!r}?" if near else "write for example 'Europe/Paris' or 'UTC'"
        yield survey.error(("hub", "timezone"), f"there is no time zone {name!r}", hint)


@rule("hub/listen")
def listen(survey: Survey) -> Iterator[Finding]:
    """
    The address is one, and only this machine can reach it: deliveries come through a proxy with TLS.
    """
    if found := addresses.fault(survey.declaration.hub.listen):
        yield survey.error(("hub", "listen"), *found)


@rule("hub/bus")
def bus(survey: Survey) -> Iterator[Finding]:
    """
    Brokers have ports, a login or a token has its parts, files of certificates serve TLS.
    """
    kafka = survey.declaration.hub.bus
    if kafka is None:
        return
    for server in [] if "${" in kafka.kafka else kafka.kafka.split(","):
        if not _SERVER.fullmatch(server.strip()):
            hint = "write host:port, several with commas between them"
            yield survey.error(("hub", "bus", "kafka"), f"{server.strip()!r} is no address of a broker", hint)
    if kafka.security is not None:
        yield from _security(survey, kafka.security)


def _security(survey: Survey, given: KafkaSecurity) -> Iterator[Finding]:
    keys = ("hub", "bus", "security")
    for names, hint in _logins(given):
        missing = [repr(name) for name in names if getattr(given, name) is None]
        if 0 < len(missing) < len(names):
            yield survey.error_at_key(keys, f"{' and '.join(missing)} is missing", hint)
    for name, why in _unused(given):
        yield survey.error_at_key((*keys, name), f"{name!r} is {why}", "take out what is not meant")
    if given.token_url is not None and not _is_safe(given.token_url):
        yield survey.error((*keys, "token_url"), "a secret would leave in the clear", "write https://")
    for name in ("ca", "certificate", "certificate_key"):
        if getattr(given, name) is not None and not given.tls:
            yield survey.error_at_key((*keys, name), f"{name!r} is for TLS", "add `tls: true`")


_LOGIN = ("mechanism", "username", "password")
_CLIENT = ("token_url", "client_id", "client_secret")


def _logins(given: KafkaSecurity) -> Iterator[tuple[Sequence[str], str]]:
    """
    Yield the keys that need each other, and why.
    """
    if given.mechanism != "oauthbearer":
        yield _LOGIN, "a login is 'mechanism', 'username' and 'password'"
    elif given.token is None:
        hint = "`oauthbearer` takes 'token', or fetches one with 'token_url', 'client_id' and 'client_secret'"
        yield ("mechanism", *_CLIENT), hint


def _unused(given: KafkaSecurity) -> Iterator[tuple[str, str]]:
    """
    Yield the keys that do nothing, and why.
    """
    if given.mechanism != "oauthbearer":
        found = dict.fromkeys(("token", *_CLIENT, "scope"), "for `mechanism: oauthbearer`")
    else:
        found = dict.fromkeys(_LOGIN[1:], "not for `mechanism: oauthbearer`")
        if given.token is not None:
            found |= dict.fromkeys((*_CLIENT, "scope"), "for a token that is fetched, and 'token' leads to one")
    yield from ((name, why) for name, why in found.items() if getattr(given, name) is not None)


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or addresses.is_loopback(parts.hostname or "")


@rule("hub/ledger")
def ledger(survey: Survey) -> Iterator[Finding]:
    """
    The ledger's address is one, and what shares it is said.
    """
    named, keys = survey.declaration.hub.ledger, ("hub", "ledger")
    if named is None:
        return
    if not is_reference(named) and not named.startswith(_SERVERS):
        hint = "write ${env:PENSTOCK_LEDGER}, and postgresql://user:password@host/database into that variable"
        yield survey.error(keys, f"{named!r} is not the address of a PostgreSQL server", hint)
    elif survey.declaration.hub.bus is None:
        yield survey.note(
            keys,
            "several `penstock run` may share this ledger, each with a bus of its own in its `hub.state`: "
            "events that came in at one of them wait there for it",
        )


@rule("hub/alerts")
def alerts(survey: Survey) -> Iterator[Finding]:
    """
    Alerts go to an address that can be trusted with them.
    """
    given = survey.declaration.hub.alerts
    if given is None or is_reference(given.url):
        return
    allowed = ("https://", "http://") if given.allow_private else ("https://",)
    if not given.url.startswith(allowed):
        hint = "write https://…; in your own network also http://… with `allow_private: true`"
        yield survey.error(("hub", "alerts", "url"), f"{given.url!r} is no address alerts can go to", hint)


@rule("hub/otel")
def otel(survey: Survey) -> Iterator[Finding]:
    """
    Telemetry goes to an address over HTTP.
    """
    given = survey.declaration.hub.otel
    if given is not None and not is_reference(given.url) and not given.url.startswith(("https://", "http://")):
        hint = "write where its OTLP/HTTP is, e.g. http://127.0.0.1:4318"
        yield survey.error(("hub", "otel", "url"), f"{given.url!r} is no address of a collector", hint)


@rule("hub/labels")
def labels(survey: Survey) -> Iterator[Finding]:
    """
    Labels are short words, so that costs can be grouped by them.
    """
    named = [(("pipelines", name), entry.labels) for name, entry in survey.declaration.pipelines.items()]
    named += [(("budgets", name), entry.labels or {}) for name, entry in survey.declaration.budgets.items()]
    for keys, given in named:
        for name, value in given.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) or not re.fullmatch(r"[^\s,=][^\n,=]{0,62}", value):
                message = f"the label {name}: {value!r} is not allowed"
                hint = "a name in lower case, and a value of at most 63 characters without ',' and '='"
                yield survey.error_at_key((*keys, "labels", name), message, hint)


@rule("hub/keep")
def keep(survey: Survey) -> Iterator[Finding]:
    """
    Details are kept at least as long as a failing event is tried.
    """
    for keys, pipeline in survey.pipelines:
        if survey.declaration.hub.keep < pipeline.on_error.give_up_after:
            message = f"details are kept for less time than {keys[1]!r} tries an event"
            yield survey.error(("hub", "keep"), message, "raise it, or lower `on_error.give_up_after`")
            return
