"""
Anybody may post anything to the ingress: it never breaks, never hangs, and believes only signatures.

The judge computes signatures by itself, from the vendors' descriptions.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import catalog
from connectors.listening import listening
from engine import Ingress
from engine.ingress import BODY_MOST
from penstock.clock import ManualClock
from penstock.secrets import Secrets

CASES = int(os.environ.get("PENSTOCK_CASES") or (5_000 if os.environ.get("PENSTOCK_NO_SKIP") else 300))
"""Random deliveries: 5,000 in CI."""
WITHIN = 5.0  # seconds one delivery may take
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
TOLERANCE = 300.0  # seconds
NEW, OLD, WRONG = "hook-secret-new", "hook-secret-old", "somebody-elses-secret"
SIGNATURE = {"zendesk": b"x-zendesk-webhook-signature", "github": b"x-hub-signature-256"}
STAMP = b"x-zendesk-webhook-signature-timestamp"
SETTINGS = {
    "zendesk": {"subdomain": "acme", "email": "hub@acme.example", "api_token": "${env:TOKEN}"},
    "github": {"token": "${env:TOKEN}"},
}

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

    def post(self, path: str, headers: Headers, parts: Sequence[bytes], *, query: bytes = b"") -> tuple[int, list[Any]]:
        """
        Return the status of a delivery and what it left on the bus.
        """
        self.shelf.messages.clear()
        return self.runner.run(self._answered(path, headers, parts, query)), list(self.shelf.messages)

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
    hooks = ["${env:NEW}", "${env:OLD}"]
    connectors = {
        name: catalog.open(name, {**given, "webhook_secret": hooks}, secrets=secrets, http=None, clock=clock)  # type: ignore[arg-type]  # nothing is sent
        for name, given in SETTINGS.items()
    }
    shelf = Shelf()
    with asyncio.Runner() as runner:
        yield Door(Ingress(connectors, bus=shelf, clock=clock, topic=lambda name: name), shelf, runner)


# ---- what may come ---------------------------------------------------------------------------------


def signed(name: str, secret: str, stamp: bytes, body: bytes) -> bytes:
    """
    Return the signature as the vendor describes it.
    """
    message = stamp + body if name == "zendesk" else body
    digest = hmac.new(secret.encode(), message, hashlib.sha256)
    return base64.b64encode(digest.digest()) if name == "zendesk" else b"sha256=" + digest.hexdigest().encode()


def may_be_believed(name: str, headers: Headers, body: bytes) -> bool:
    """
    Tell whether any signature in *headers* proves the sender, and, where it is timed, came in time.
    """
    given = [text for header, text in headers if header.lower() == SIGNATURE[name]]
    stamps = [text for header, text in headers if header.lower() == STAMP] if name == "zendesk" else [b""]
    return any(
        text == signed(name, secret, stamp, body) and (name == "github" or _in_time(stamp))
        for text in given
        for stamp in stamps
        for secret in (NEW, OLD)
    )


def _in_time(stamp: bytes) -> bool:
    try:
        said = datetime.fromisoformat(stamp.decode("ascii"))
        return abs((said - NOW).total_seconds()) <= TOLERANCE
    except (ValueError, TypeError):  # no time, or one without a zone
        return False


SAMPLES = {
    name: [(catalog.folder(name) / rule.body).read_bytes() for rule in catalog.manifest(name).samples]
    for name in SETTINGS
}
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
        zlib.compress(b"{}"), b"payload=%7B%7D", b"--x\r\nContent-Disposition: form-data\r\n\r\n{}", b" " * (BODY_MOST + 1),
    ]
)  # fmt: skip
NESTED = b'{"a":' * 600 + b"1" + b"}" * 600


@st.composite
def bodies(draw: st.DrawFn, name: str) -> bytes:
    """
    A real delivery, one with a field replaced, one cut off, or anything at all.
    """
    sample = draw(st.sampled_from(SAMPLES[name]))
    match draw(st.integers(0, 6)):
        case 0 | 1:
            return sample
        case 2 | 3:
            data = orjson.loads(sample)
            place = data
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
TOKENS = st.binary(min_size=1, max_size=20)
CONTENT_TYPES = st.sampled_from(
    [b"application/json"] * 8
    + [b"application/json; charset=utf-8", b"APPLICATION/JSON", b"application/vnd.x+json", b"text/plain", b"", b"\xff", b"a/b;" * 500]
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
def deliveries(draw: st.DrawFn) -> tuple[str, Sent]:
    """
    A delivery for one of the connections, from faultless to absurd.
    """
    name = draw(st.sampled_from(sorted(SETTINGS)))
    body, stamp = draw(bodies(name)), draw(STAMPS)
    secret = draw(st.sampled_from([NEW, NEW, NEW, OLD, WRONG, ""]))
    signature = signed(name, secret, stamp, body)
    headers: Headers = [(b"content-type", draw(CONTENT_TYPES)), (SIGNATURE[name], signature), (STAMP, stamp)]
    match draw(st.integers(0, 9)):
        case 0:
            headers[1] = (SIGNATURE[name], draw(st.binary(max_size=80)))
        case 1:
            headers[1] = (SIGNATURE[name], signature[: draw(st.integers(0, len(signature)))])
        case 2:
            headers.insert(draw(st.integers(0, 3)), (SIGNATURE[name], draw(TOKENS)))
        case 3:
            headers.insert(draw(st.integers(0, 3)), (STAMP, draw(STAMPS)))
        case 4:
            headers.pop(draw(st.integers(0, 2)))
        case 5:
            body += draw(st.sampled_from([b" ", b"\x00", b"{}", b"\n"]))
        case 6:
            headers.append(
                (b"content-length", draw(st.sampled_from([b"0", b"-1", b"9" * 30, b"x", "٣".encode(), b"1048577"])))
            )
    headers += draw(st.lists(st.tuples(TOKENS.map(bytes.lower), st.binary(max_size=20)), max_size=3))
    cut = draw(st.integers(0, len(body)))
    path = draw(
        st.sampled_from([f"/in/{name}"] * 9 + ["/in/", "/in/nobody", "/in/zendesk/", "/in/%2e%2e", "/in/ü\x00", "/"])
    )
    return name, Sent(path, draw(st.permutations(headers)), [body[:cut], body[cut:]], draw(st.binary(max_size=10)))


# ---- what must hold --------------------------------------------------------------------------------


def test_the_judge_believes_a_real_delivery(door: Door) -> None:
    """
    Faultless deliveries of both systems are taken, with the new and the old secret.
    """
    for name in SETTINGS:
        for secret in (NEW, OLD):
            stamp, body = NOW.isoformat().encode(), SAMPLES[name][0]
            headers = [
                (SIGNATURE[name], signed(name, secret, stamp, body)),
                (STAMP, stamp),
                (b"content-type", b"application/json"),
            ]
            status, messages = door.post(f"/in/{name}", headers, [body])

            assert may_be_believed(name, headers, body)
            assert (status, len(messages)) == (202, 1)


@settings(max_examples=CASES)
@given(deliveries())
def test_whatever_is_posted_the_ingress_holds(door: Door, delivery: tuple[str, Sent]) -> None:
    """
    Any delivery is answered in time and without a 5xx, and only a signed one in time leaves an event.
    """
    name, sent = delivery
    status, messages = door.post(sent.path, sent.headers, sent.parts, query=sent.query)

    assert status in {202, 400, 401, 404, 405, 413, 415}, status
    believed = sent.path == f"/in/{name}" and may_be_believed(name, sent.headers, sent.body)
    assert not messages or (believed and status == 202)
    assert status != 202 or believed


@settings(max_examples=max(CASES // 5, 50))
@given(st.data(), st.sampled_from(sorted(SETTINGS)))
def test_whatever_is_signed_the_ingress_holds(door: Door, data: st.DataObject, name: str) -> None:
    """
    A system that signs nonsense is answered too, and never with a 5xx.
    """
    body, stamp = data.draw(bodies(name)), b"2026-01-05T09:00:00Z"
    headers = [
        (SIGNATURE[name], signed(name, NEW, stamp, body)),
        (STAMP, stamp),
        (b"content-type", b"application/json"),
    ]
    status, messages = door.post(f"/in/{name}", headers, [body])

    assert status in ({202, 400} if len(body) <= BODY_MOST else {413})
    assert not messages or status == 202


@settings(max_examples=max(CASES // 5, 50))
@given(STAMPS)
def test_only_a_signed_time_near_ours_is_believed(door: Door, stamp: bytes) -> None:
    """
    A timestamp in any shape is judged as the vendor describes it, though its signature is right.
    """
    body = SAMPLES["zendesk"][0]
    headers = [
        (SIGNATURE["zendesk"], signed("zendesk", NEW, stamp, body)),
        (STAMP, stamp),
        (b"content-type", b"application/json"),
    ]
    status, messages = door.post("/in/zendesk", headers, [body])

    if not may_be_believed("zendesk", headers, body):
        assert (status, messages) == (401, [])
    elif stamp.isascii():
        assert (status, len(messages)) == (202, 1)


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
