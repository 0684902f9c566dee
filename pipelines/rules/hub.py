"""
The hub can stand where it is put.
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Iterator

from penstock.secrets import is_reference
from pipelines.declaration import KafkaSecurity
from pipelines.findings import Finding
from pipelines.rules.registry import rule
from pipelines.suggestions import closest
from pipelines.survey import Survey

_SERVERS = ("postgresql://", "postgres://")
_LISTEN = re.compile(r"(\[[0-9a-fA-F:]+\]|[0-9A-Za-z.-]+):([0-9]{1,5})")
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
    text, keys = survey.declaration.hub.listen, ("hub", "listen")
    found = _LISTEN.fullmatch(text)
    if not found or not 0 < int(found[2]) < 65536:
        yield survey.error(keys, f"{text!r} is not an address", "write host:port, for example '127.0.0.1:8080'")
    elif not _is_loopback(found[1].strip("[]")):
        hint = "write 127.0.0.1, and put a proxy that speaks TLS in front"
        yield survey.error(keys, f"{found[1]!r} can be reached from other machines", hint)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@rule("hub/bus")
def bus(survey: Survey) -> Iterator[Finding]:
    """
    Brokers have ports, a login has its three parts, files of certificates serve TLS.
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
    login = {"mechanism": given.mechanism, "username": given.username, "password": given.password}
    missing = [repr(name) for name, value in login.items() if value is None]
    if 0 < len(missing) < len(login):
        hint = "a login is 'mechanism', 'username' and 'password'"
        yield survey.error_at_key(keys, f"{' and '.join(missing)} is missing", hint)
    for name in ("ca", "certificate", "certificate_key"):
        if getattr(given, name) is not None and not given.tls:
            yield survey.error_at_key((*keys, name), f"{name!r} is for TLS", "add `tls: true`")


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
