"""
Anybody may post anything to the ingress: it never breaks, never hangs, and believes only signatures.

All connectors of the catalog that take deliveries are asked. The judge computes signatures by itself, from what they
declare; that this is what the vendors describe, each connector's own tests prove with values worked out by hand.
`make fuzz` is the long run.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs

import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import catalog
from connectors.contract import Connector, Sample
from connectors.listening import listening
from connectors.slack.connector import VERIFY as SLACK
from connectors.verification import Verify
from engine import Ingress
from engine.ingress import BODY_MOST
from penstock.clock import ManualClock
from penstock.secrets import Secrets
from schemas.events import Event

CASES = int(
    os.environ.get("PENSTOCK_FUZZ")
    or os.environ.get("PENSTOCK_CASES")
    or (5_000 if os.environ.get("PENSTOCK_NO_SKIP") else 300)
)
"""Random deliveries to all receivers together: 5,000 in CI."""
WITHIN = 5.0  # seconds one delivery may take
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
NEW, OLD, WRONG = "hook-secret-new", "hook-secret-old", "somebody-elses-secret"
HOST = b"hub.example"
HOOKS = ["${env:NEW}", "${env:OLD}"]
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "github": {"token": "${env:TOKEN}"},
    "hubspot": {"portal_id": "12345678", "app_id": "987654", "access_token": "${env:TOKEN}"},
    "jira": {"site": "acme", "email": "hub@acme.example", "api_token": "${env:TOKEN}"},
    "rest": {
        "url": "https://erp.acme.example",
        "auth": {"bearer": "token"},
        "token": "${env:TOKEN}",
        "verify": {
            "secret": "webhook_secret",
            "message": "{timestamp}.{method}.{url}.{body}",
            "prefix": "v1=",
            "header": "x-erp-signature",
            "timestamp": {"header": "x-erp-time", "form": "unix"},
        },
        "records": {"order": "(?P<order>[0-9]+)"},
        "events": [
            {
                "types": {"order.opened": "An order came."},
                "when": "body.type == 'order.opened'",
                "type": "body.type",
                "id": "body.order.id ~ '/' ~ body.order.version",
                "source": "settings.url",
                "subject": "body.order.id",
                "time": "body.at",
                "data": {"name": {"description": "Its name.", "value": "body.order.name"}},
            }
        ],
        "own": ["event.data.name == 'ours'"],
        "health": {"get": "/me", "acts_as": "body.id", "detail": "body.name"},
    },
    "slack": {"bot_token": "${env:TOKEN}"},
    "zendesk": {"subdomain": "acme", "email": "hub@acme.example", "api_token": "${env:TOKEN}"},
}
"""What each connector that takes deliveries needs beside the secret that signs them."""
RULES: Mapping[str, Verify] = {
    name: rule
    for name in SETTINGS
    if not catalog.described(name) and (rule := catalog.manifest(name).verify) is not None
} | {"slack": SLACK, "rest": Verify.model_validate(SETTINGS["rest"]["verify"])}
ORDER = Sample(
    name="an order",
    headers={"content-type": "application/json"},
    body=b'{"type":"order.opened","at":"2026-01-05T09:00:00Z","order":{"id":"42","version":3,"name":"A bike"}}',
    events=({"type": "order.opened", "subject": "42"},),
)
"""What a system may send that is described where its connection is: `rest` itself has no samples."""
NAMES = sorted(SETTINGS)
TIMED = [name for name in NAMES if RULES[name].timestamp is not None]
SHARE = max(1, CASES // len(NAMES))

Headers = list[tuple[bytes, bytes]]


@dataclass
class Shelf:
    """
    A bus that keeps what it is given.
    """

    messages: list[Any] = field(default_factory=list)

    async def publish(self, messages: Sequence[Any]) -> None:
        self.messages += messages


@dataclass
class Door:
    """
    An ingress with the real connectors, asked without a network in between.
    """

    ingress: Ingress
    shelf: Shelf
    runner: asyncio.Runner
    connectors: Mapping[str, Connector]

    def post(self, path: str, headers: Headers, parts: Sequence[bytes], *, query: bytes = b"") -> tuple[int, list[Any]]:
        """
        Return the status of a delivery and what it left on the bus.
        """
        self.shelf.messages.clear()
        began = time.perf_counter()
        status = self.runner.run(self._answered(path, headers, parts, query))
        SLOWEST[0] = max(SLOWEST[0], time.perf_counter() - began)
        COUNTED["deliveries"] += 1
        COUNTED["taken" if status < 300 else "refused"] += 1
        return status, list(self.shelf.messages)

    async def _answered(self, *asked: Any) -> int:
        async with asyncio.timeout(WITHIN):
            return await self._ask(*asked)

    async def _ask(self, path: str, headers: Headers, parts: Sequence[bytes], query: bytes) -> int:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": headers,
            "server": ("127.0.0.1", 8080),
        }
        waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        waiting.append({"type": "http.request", "body": b"", "more_body": False})
        sent: list[Any] = []

        async def receive() -> Any:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.ingress.asgi(scope, receive, send)
        return int(sent[0]["status"])


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    secrets = Secrets({"TOKEN": "token-of-a-test", "NEW": NEW, "OLD": OLD})
    clock = ManualClock(NOW)
    with asyncio.Runner() as runner:
        connectors = {
            name: catalog.open(name, {**given, RULES[name].secret: HOOKS}, secrets=secrets, http=None, clock=clock)  # type: ignore[arg-type]  # nothing is sent
            for name, given in SETTINGS.items()
        }
        shelf = Shelf()
        yield Door(Ingress(connectors, bus=shelf, clock=clock, topic=lambda name: name), shelf, runner, connectors)
        for connector in connectors.values():
            runner.run(connector.close())


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[Counter[str]]:
    """
    What became of all deliveries; shown at the end of a long run.
    """
    yield COUNTED
    counts = ", ".join(f"{many:,} {what}" for what, many in sorted(COUNTED.items()))
    sys.stdout.write(f"\n{counts}; the slowest took {SLOWEST[0] * 1000:.0f} ms\n")


COUNTED: Counter[str] = Counter()
SLOWEST = [0.0]


def test_every_receiver_is_asked() -> None:
    """
    A new connector that takes deliveries is named in this file.
    """
    assert [name for name in catalog.names() if catalog.spec(name).delivers] == NAMES


# ---- what may come ---------------------------------------------------------------------------------


def signed(name: str, secret: str, stamp: bytes, body: bytes, url: bytes) -> bytes:
    """
    Return the signature as the connector declares it.
    """
    rule = RULES[name]
    pieces = {b"timestamp": stamp, b"method": b"POST", b"url": url, b"body": body}
    message = b""
    for text, piece in re.findall(rb"([^{]*)(?:\{(\w+)\})?", rule.message.encode()):
        message += text + (pieces[piece] if piece else b"")
    digest = hmac.new(secret.encode(), message, hashlib.sha256)
    said = base64.b64encode(digest.digest()) if rule.encoding == "base64" else digest.hexdigest().encode()
    return rule.prefix.encode() + said


def header_of(name: str) -> bytes:
    return RULES[name].header.encode()


def stamp_of(name: str) -> bytes:
    timed = RULES[name].timestamp
    return timed.header.encode() if timed is not None else b"x-stamp"


def may_be_believed(name: str, headers: Headers, body: bytes, url: bytes) -> bool:
    """
    Tell whether any signature in *headers* proves the sender, and, where it is timed, came in time.
    """
    given = [text for header, text in headers if header.lower() == header_of(name)]
    timed = RULES[name].timestamp
    stamps = [text for header, text in headers if header.lower() == stamp_of(name)] if timed else [b""]
    return any(
        text == signed(name, secret, stamp, body, url)
        and (timed is None or _in_time(timed.form, timed.tolerance, stamp))
        for text in given
        for stamp in stamps
        for secret in (NEW, OLD)
    )


def _in_time(form: str, tolerance: float, stamp: bytes) -> bool:
    try:
        text = stamp.decode("ascii")
        if form == "iso8601":
            said = datetime.fromisoformat(text)
        else:
            said = datetime.fromtimestamp(int(text) / (1000 if form == "unix-ms" else 1), UTC)
        return abs((said - NOW).total_seconds()) <= tolerance
    except (ValueError, TypeError, OverflowError, OSError):  # no time, or one without a zone
        return False


def url_of(path: str, query: bytes) -> bytes:
    return b"http://" + HOST + path.encode() + (b"?" + query if query else b"")


def samples(name: str) -> list[Sample]:
    """
    Return what the vendor sends, as the connector documents it.
    """
    if name == "rest":
        return [ORDER]
    secrets = Secrets({"TOKEN": "token-of-a-test", "NEW": NEW, "OLD": OLD})
    given = {**SETTINGS[name], RULES[name].secret: HOOKS}
    return list(catalog.open(name, given, secrets=secrets, http=None, clock=ManualClock(NOW)).samples)  # type: ignore[arg-type]  # nothing is sent


SAMPLES = {name: samples(name) for name in NAMES}
BODIES = {name: [sample.body for sample in found] for name, found in SAMPLES.items()}
DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["zen:event-type:ticket.created", "opened"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ODD_BODIES = st.sampled_from(
    [
        b"", b"null", b"[]", b"{}", b'{"a":1,"a":2}', b"\xff\xfe", b"\xef\xbb\xbf{}", b'"\\ud800"', b"NaN", b'{"x":1e999}',
        b"[" * 100_000, b"[" * 1023 + b"]" * 1023, b'{"a":' * 900 + b"1" + b"}" * 900, b"9" * 5000, b'{"a":"\\u0000"}',
        zlib.compress(b"{}"), b"payload=%7B%7D", b"payload=%ff", b"payload=[]&payload={}", b"payload=" + b"%5B" * 5000, b"--x\r\nContent-Disposition: form-data\r\n\r\n{}", b" " * (BODY_MOST + 1),
    ]
)  # fmt: skip
NESTED = b'{"a":' * 600 + b"1" + b"}" * 600


@st.composite
def bodies(draw: st.DrawFn, name: str) -> bytes:
    """
    A real delivery, one with a field replaced, one cut off, or anything at all.
    """
    sample = draw(st.sampled_from(BODIES[name]))
    match draw(st.integers(0, 6)):
        case 0 | 1:
            return sample
        case 2 | 3:
            data = _data(sample)
            place = draw(st.sampled_from(data)) if isinstance(data, list) else data
            for _ in range(draw(st.integers(0, 2))):
                inner = [part for part in place.values() if isinstance(part, dict) and part]
                place = draw(st.sampled_from(inner)) if inner else place
            key = draw(st.sampled_from(sorted(place)))
            if draw(st.booleans()):
                place[key] = draw(DATA)
            else:
                return (
                    json.dumps(data)
                    .encode()
                    .replace(f'"{key}":'.encode(), f'"{key}":'.encode() + NESTED + b', "z":', 1)
                )
            return json.dumps(data).encode()
        case 4:
            return sample[: draw(st.integers(0, len(sample)))]
        case 5:
            return draw(ODD_BODIES)
        case _:
            return draw(st.binary(max_size=40) | DATA.map(lambda data: json.dumps(data).encode()))


def _data(sample: bytes) -> Any:
    """
    Return the JSON of a delivery, also when a form carries it.
    """
    try:
        return orjson.loads(sample)
    except ValueError:
        return orjson.loads(parse_qs(sample.decode())["payload"][0])


OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
STAMPS = st.one_of(
    st.just(NOW.isoformat().encode()),
    st.just(b"2026-01-05T09:00:00Z"),
    st.integers(-400, 400).map(lambda late: (NOW + timedelta(seconds=late)).isoformat().encode()),
    st.tuples(st.integers(-400, 400), OFFSETS).map(
        lambda pair: (NOW + timedelta(seconds=pair[0])).astimezone(pair[1]).isoformat().encode()
    ),
    st.sampled_from(
        [
            b"", b"now", b"2026-01-05", b"2026-01-05T09:00:00", b"20260105T090000Z", b"2026-W02-1T09:00:00Z", b"1767603600",
            b"1767603600000", b"-1", b"1.5", b"inf", b"nan", b"9" * 5000, b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59",
            b"2026-01-05T09:00:00.123456789Z", b"2026-01-05T09:00:60Z", b"2026-01-05T24:00:00Z", b"2026-01-05T09:00:00+99:99",
            b"2026-01-05T09:00:00z", b" 2026-01-05T09:00:00Z ", b"\xff\xfe", "２０２６-01-05T09:00:00Z".encode(), b"2026-01-05T09:00:00Z\x00",
        ]
    ),
    st.binary(max_size=30),
)  # fmt: skip
UNIX = st.integers(-400, 400).map(lambda late: int(NOW.timestamp()) + late)


def stamps(name: str) -> st.SearchStrategy[bytes]:
    """
    A time, mostly in the vendor's form and near ours.
    """
    timed = RULES[name].timestamp
    if timed is None or timed.form == "iso8601":
        return STAMPS
    factor = 1000 if timed.form == "unix-ms" else 1
    right = UNIX.map(lambda seconds: str(seconds * factor).encode())
    return right | st.just(str(int(NOW.timestamp()) * factor).encode()) | STAMPS


TOKENS = st.binary(min_size=1, max_size=20)
CONTENT_TYPES = st.sampled_from(
    [b"application/json"] * 8
    + [b"application/json; charset=utf-8", b"APPLICATION/JSON", b"application/vnd.x+json", b"application/x-www-form-urlencoded", b"text/plain", b"", b"\xff", b"a/b;" * 500]
)  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """
    One delivery as it arrives.
    """

    path: str
    headers: Headers
    parts: list[bytes]
    query: bytes

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


@st.composite
def deliveries(draw: st.DrawFn, name: str) -> Sent:
    """
    A delivery for a connection, from faultless to absurd.
    """
    body, stamp = draw(bodies(name)), draw(stamps(name))
    odd = ["/in/", "/in/nobody", f"/in/{name}/", "/in/%2e%2e", "/in/ü\x00", "/"]
    path = draw(st.sampled_from([f"/in/{name}"] * 12 + odd))
    query = draw(st.sampled_from([b"", b"", b"a=1", b"a=%C3%BC&b"]) | st.binary(max_size=10))
    secret = draw(st.sampled_from([NEW, NEW, NEW, OLD, WRONG, ""]))
    signature = signed(name, secret, stamp, body, url_of(path, query))
    header, stamped = header_of(name), stamp_of(name)
    headers: Headers = [(b"content-type", draw(CONTENT_TYPES)), (header, signature), (stamped, stamp)]
    match draw(st.integers(0, 10)):
        case 0:
            headers[1] = (header, draw(st.binary(max_size=80)))
        case 1:
            headers[1] = (header, signature[: draw(st.integers(0, len(signature)))])
        case 2:
            headers.insert(draw(st.integers(0, 3)), (header, draw(TOKENS)))
        case 3:
            headers.insert(draw(st.integers(0, 3)), (stamped, draw(stamps(name))))
        case 4:
            headers.pop(draw(st.integers(0, 2)))
        case 5:
            body += draw(st.sampled_from([b" ", b"\x00", b"{}", b"\n"]))
        case 6:
            headers.append(
                (b"content-length", draw(st.sampled_from([b"0", b"-1", b"9" * 30, b"x", "٣".encode(), b"1048577"])))
            )
        case 7:  # what was signed for another address
            query = draw(st.binary(max_size=10))
    headers += draw(st.lists(st.tuples(TOKENS.map(bytes.lower), st.binary(max_size=20)), max_size=3))
    headers = [(b"host", HOST), *draw(st.permutations(headers))]
    cut = draw(st.integers(0, len(body)))
    return Sent(path, headers, [body[:cut], body[cut:]], query)


# ---- what must hold --------------------------------------------------------------------------------


def plainly(name: str, secret: str, stamp: bytes, sample: Sample) -> Headers:
    """
    Return the headers of a faultless delivery.
    """
    kind = sample.headers.get("content-type", "application/json").encode()
    signature = signed(name, secret, stamp, sample.body, url_of(f"/in/{name}", b""))
    return [(b"host", HOST), (header_of(name), signature), (stamp_of(name), stamp), (b"content-type", kind)]


def now(name: str) -> bytes:
    timed = RULES[name].timestamp
    if timed is None or timed.form == "iso8601":
        return NOW.isoformat().encode()
    return str(int(NOW.timestamp()) * (1000 if timed.form == "unix-ms" else 1)).encode()


@pytest.mark.parametrize("name", NAMES)
def test_the_judge_believes_a_real_delivery(door: Door, name: str) -> None:
    """
    Faultless deliveries are taken, with the new and the old secret, and delivered again they are the same events.
    """
    url = url_of(f"/in/{name}", b"")
    for sample in SAMPLES[name]:
        ids = set()
        for secret in (NEW, OLD):
            headers = plainly(name, secret, now(name), sample)
            status, messages = door.post(f"/in/{name}", headers, [sample.body])
            ids.add(tuple(event.id for event in read(messages)))

            assert may_be_believed(name, headers, sample.body, url)
            assert status in {200, 202}
            assert len(messages) == len(sample.events)
        assert len(ids) == 1


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_posted_the_ingress_holds(door: Door, name: str) -> None:
    """
    Any delivery is answered in time and without a 5xx, and only a signed one in time leaves an event, always the same.
    """

    @settings(max_examples=SHARE)
    @given(deliveries(name))
    def check(sent: Sent) -> None:
        status, messages = door.post(sent.path, sent.headers, sent.parts, query=sent.query)

        assert status in {200, 202, 400, 401, 404, 405, 413, 415}, status
        believed = sent.path == f"/in/{name}" and may_be_believed(
            name, sent.headers, sent.body, url_of(sent.path, sent.query)
        )
        COUNTED["forged"] += not believed
        COUNTED["forged and taken"] += status < 300 and not believed
        assert not messages or (believed and status < 300)
        assert status >= 300 or believed
        events = read(messages)
        for event in events:
            jsonschema_rs.validator_for(dict(door.connectors[name].events[event.type])).validate(event.data)
        if events:
            again = read(door.post(sent.path, sent.headers, sent.parts, query=sent.query)[1])
            assert [(event.source, event.id) for event in events] == [(event.source, event.id) for event in again]

    check()


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_signed_the_ingress_holds(door: Door, name: str) -> None:
    """
    A system that signs nonsense is answered too, and never with a 5xx.
    """

    @settings(max_examples=max(SHARE // 5, 50))
    @given(bodies(name), CONTENT_TYPES)
    def check(body: bytes, kind: bytes) -> None:
        signature = signed(name, NEW, now(name), body, url_of(f"/in/{name}", b""))
        headers = [(b"host", HOST), (header_of(name), signature), (stamp_of(name), now(name)), (b"content-type", kind)]
        status, messages = door.post(f"/in/{name}", headers, [body])

        assert status in ({200, 202, 400, 415} if len(body) <= BODY_MOST else {413, 415})
        assert not messages or status < 300

    check()


@pytest.mark.parametrize("name", TIMED)
def test_only_a_signed_time_near_ours_is_believed(door: Door, name: str) -> None:
    """
    A timestamp in any shape is judged as the vendor describes it, though its signature is right.
    """
    sample = next(sample for sample in SAMPLES[name] if sample.events)

    @settings(max_examples=max(SHARE // 5, 50))
    @given(stamps(name))
    def check(stamp: bytes) -> None:
        headers = plainly(name, NEW, stamp, sample)
        status, messages = door.post(f"/in/{name}", headers, [sample.body])

        if not may_be_believed(name, headers, sample.body, url_of(f"/in/{name}", b"")):
            assert (status, messages) == (401, [])
        elif stamp.isascii():
            assert (status < 300, len(messages)) == (True, len(sample.events))

    check()


def read(messages: Sequence[Any]) -> list[Event]:
    return [Event.from_kafka([*message.headers], message.value) for message in messages]


RAW = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"GET\r\n\r\n",
    b"POST /in/github HTTP/9.9\r\nHost: x\r\n\r\n",
    b"POST /in/github?\x80\xff HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    b"POST http://[::1/in/github HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    b"POST /in/github HTTP/1.1\r\nHost: \xff\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    b"POST /in/github HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
    b"POST /in/github HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\n{}",
    b"POST /in/github HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
    b"POST /in/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nffffffffffffffffff\r\n",
    b"POST /in/github HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    b"POST /in/github HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    b"POST /in/%00%ff HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"POST " + b"/in/" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
]


async def test_bytes_that_are_hardly_http_get_no_5xx(door: Door) -> None:
    """
    On a real socket broken requests are refused or hung up on, and the next one is served.
    """
    door.shelf.messages.clear()
    async with listening(door.ingress.asgi) as url:
        port = int(url.rpartition(":")[2])
        for sent in RAW:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            writer.write_eof()
            async with asyncio.timeout(WITHIN):
                said = await _all_of(reader)
            writer.close()

            assert not said or said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 100")), (sent[:80], said[:80])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await _all_of(reader)).startswith(b"HTTP/1.1 200")
        writer.close()
    assert door.shelf.messages == []


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""
