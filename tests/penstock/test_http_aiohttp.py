"""
One send is one request, one answer, one deadline; and what left is never in doubt.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from typing import Any

import pytest

from penstock.errors import Fenced
from penstock.http import NotSent, Request, SentNoAnswer
from penstock.http_aiohttp import AiohttpHttp

SOON = 0.3  # seconds a server that never answers is given
AMPLE = 20.0  # seconds for what must not time out


def answer(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def script(*parts: bytes) -> Any:
    async def run(_request: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return run


async def reset(_request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def silence(_request: bytes, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(AMPLE)


async def drip(_request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)


def post(url: str, **more: Any) -> Request:
    return Request.to("POST", f"{url}/notes", json={"text": "hello"}, **more)


async def test_answers_come_back_whole(raw: Any, http: AiohttpHttp) -> None:
    """Status, headers (lower case, repeats joined) and body come back."""
    server = await raw(script(answer(b'{"id": 7}', "X-Rate: 1", "X-Rate: 2", status="201 Created")))

    response = await http.send(post(server.url), timeout=AMPLE)

    assert (201, "1, 2", {"id": 7}) == (response.status, response.headers["x-rate"], response.json())


async def test_the_wire_carries_the_request_and_nothing_more(raw: Any, http: AiohttpHttp) -> None:
    """The body and headers leave byte for byte; aiohttp adds only what HTTP needs."""
    server = await raw(script(answer()))
    request = Request.to("PUT", f"{server.url}/a%2Fb?q=x%20y", content=b"{}", headers={"authorization": "Bearer t"})

    await http.send(request, timeout=AMPLE)

    head, _, body = server.received[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "PUT /a%2Fb?q=x%20y HTTP/1.1"
    assert body == b"{}"
    assert {line.partition(":")[0].lower() for line in lines} == {
        "host",
        "authorization",
        "accept-encoding",
        "content-length",
    }


async def test_an_empty_post_says_so(raw: Any, http: AiohttpHttp) -> None:
    """A POST without a body declares its length, as servers insist."""
    server = await raw(script(answer()))

    await http.send(Request.to("POST", server.url), timeout=AMPLE)

    assert b"content-length: 0" in server.received[0].lower()


async def test_connections_are_used_again(raw: Any, http: AiohttpHttp) -> None:
    """Two requests in a row share a connection, and the fence is asked for each."""
    server = await raw(script(answer()))
    asked: list[int] = []

    for _ in range(2):
        await http.send(post(server.url), timeout=AMPLE, fence=lambda: asked.append(server.connections))

    assert (1, 2) == (server.connections, len(asked))


async def test_redirects_are_answers(raw: Any, http: AiohttpHttp) -> None:
    """A redirect is given back, never followed: our credential stays with the host it is for."""
    server = await raw(script(answer(b"", "Location: /elsewhere", status="302 Found")))

    response = await http.send(Request.to("GET", server.url), timeout=AMPLE)

    assert (302, 1) == (response.status, server.received[0].count(b"GET "))


async def test_cookies_are_not_kept(raw: Any, http: AiohttpHttp) -> None:
    """A cookie set by one answer is in no later request."""
    server = await raw(script(answer(b"", "Set-Cookie: session=abc")))
    named = f"http://localhost:{server.port}"  # jars keep no cookie of a bare address

    for _ in range(2):
        await http.send(Request.to("GET", named), timeout=AMPLE)

    assert b"cookie" not in b"".join(server.received).lower()


@pytest.mark.parametrize("reused", [False, True])
async def test_a_fence_that_refuses_sends_nothing(raw: Any, http: AiohttpHttp, reused: bool) -> None:
    """When the fence raises, its own error comes out, no byte has left and the connection is closed."""
    server = await raw(script(answer()))
    if reused:
        await http.send(Request.to("GET", server.url), timeout=AMPLE)
    before = b"".join(server.received)

    def refuse() -> None:
        raise Fenced

    with pytest.raises(Fenced):
        await http.send(post(server.url), timeout=AMPLE, fence=refuse)

    await http.send(Request.to("GET", server.url), timeout=AMPLE)
    assert b"POST" not in b"".join(server.received)[len(before) :]
    assert server.connections == 2  # the refused one was not taken again


async def test_the_fence_is_asked_with_the_connection_in_hand(raw: Any, http: AiohttpHttp) -> None:
    """The fence is asked after the connection stands and before the server has any byte."""
    server = await raw(script(answer()))
    seen: list[list[bytes]] = []

    await http.send(post(server.url), timeout=AMPLE, fence=lambda: seen.append(list(server.received)))

    assert b"" == b"".join(seen[0])


async def test_a_fence_that_raises_a_timeout_is_not_a_timeout(raw: Any, http: AiohttpHttp) -> None:
    """What the fence raises comes out as it is, whatever its type."""
    server = await raw(script(answer()))

    def refuse() -> None:
        raise TimeoutError("the lane was lost")

    with pytest.raises(TimeoutError, match="the lane was lost"):
        await http.send(post(server.url), timeout=AMPLE, fence=refuse)


async def test_a_refused_connection_sent_nothing(http: AiohttpHttp) -> None:
    """Nobody listens: nothing was sent."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with pytest.raises(NotSent, match="POST to 127.0.0.1"):
        await http.send(post(f"http://127.0.0.1:{port}"), timeout=AMPLE)


async def test_an_unknown_name_sent_nothing(http: AiohttpHttp) -> None:
    """No such host: nothing was sent."""
    with pytest.raises(NotSent, match=r"no\.such\.host\.invalid"):
        await http.send(post("http://no.such.host.invalid"), timeout=AMPLE)


async def test_a_connection_that_never_stands_sent_nothing(http: AiohttpHttp) -> None:
    """A server whose queue is full lets us wait: the deadline ends it, nothing was sent."""
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (one, two):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())

        with pytest.raises(NotSent, match=r"within 0\.3 s"):
            await http.send(post(f"http://127.0.0.1:{full.getsockname()[1]}"), timeout=SOON)


async def test_plain_text_where_tls_is_expected_sent_nothing(raw: Any, http: AiohttpHttp) -> None:
    """When TLS cannot be agreed on, the request has not left."""
    server = await raw(script(answer()))

    with pytest.raises(NotSent):
        await http.send(post(f"https://127.0.0.1:{server.port}"), timeout=1.0)

    assert b"POST" not in b"".join(server.received)


async def test_a_reset_after_sending_is_unknown(raw: Any, http: AiohttpHttp) -> None:
    """The request left and the connection broke: it may have taken effect."""
    server = await raw(reset)

    with pytest.raises(SentNoAnswer) as caught:
        await http.send(post(server.url), timeout=AMPLE)

    assert (False, 1) == (caught.value.timeout, b"".join(server.received).count(b"POST "))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_nothing_is_sent_twice(raw: Any, http: AiohttpHttp, method: str) -> None:
    """A kept connection that breaks is not replaced by a second, hidden attempt."""
    replies = iter([answer()])

    async def once(_request: bytes, writer: asyncio.StreamWriter) -> None:
        if (reply := next(replies, None)) is None:
            writer.transport.abort()
        else:
            writer.write(reply)

    server = await raw(once)
    await http.send(Request.to(method, server.url), timeout=AMPLE)

    with pytest.raises(SentNoAnswer):
        await http.send(Request.to(method, server.url), timeout=AMPLE)

    assert b"".join(server.received).count(method.encode() + b" /") == 2


@pytest.mark.parametrize("stalls", [silence, drip], ids=["silence", "drip"])
async def test_the_deadline_is_total(raw: Any, http: AiohttpHttp, stalls: Any) -> None:
    """A server that is silent, or drips one byte after the other, is left at the deadline."""
    server = await raw(stalls)

    with pytest.raises(SentNoAnswer, match="no complete answer") as caught:
        await http.send(post(server.url), timeout=SOON)

    assert caught.value.timeout


async def test_an_answer_cut_short_is_none(raw: Any, http: AiohttpHttp) -> None:
    """An answer that ends before its declared length is not taken for complete."""

    async def cut(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"x" * 100)[:-40])
        await writer.drain()
        writer.close()

    server = await raw(cut)

    with pytest.raises(SentNoAnswer):
        await http.send(post(server.url), timeout=AMPLE)


async def test_packed_answers_are_unpacked(raw: Any, http: AiohttpHttp) -> None:
    """A gzip answer, also one of several members, comes back as it was meant."""
    packed = gzip.compress(b"hello ") + gzip.compress(b"world")
    server = await raw(script(answer(packed, "Content-Encoding: gzip")))

    assert b"hello world" == (await http.send(post(server.url), timeout=AMPLE)).body


def bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()


@pytest.mark.parametrize(
    ("body", "encoding", "says"),
    [
        (b"x" * 2000, "identity", "more than 1000 bytes"),
        (bomb(), "gzip", "more than 1000 bytes"),
        (gzip.compress(bytes(5000)), "gzip", "once unpacked"),
        (gzip.compress(b"x" * 100)[:-9], "gzip", "breaks off"),
        (b"not gzip at all", "gzip", "error"),
        (b"\x0b\x02\x80hello\x03", "br", "not asked for"),
    ],
    ids=["plain", "bomb", "packed", "cut", "rubbish", "unasked"],
)
async def test_answers_too_large_or_unreadable_are_none(
    raw: Any, http: AiohttpHttp, body: bytes, encoding: str, says: str
) -> None:
    """Neither a large answer, nor one that unpacks to a large one, nor rubbish is given back."""
    server = await raw(script(answer(body, f"Content-Encoding: {encoding}")))

    with pytest.raises(SentNoAnswer, match=says):
        await http.send(post(server.url), timeout=AMPLE, max_body=1000)


async def test_an_answer_of_exactly_the_cap_is_taken(raw: Any, http: AiohttpHttp) -> None:
    """The cap counts bytes after unpacking, and includes the last one."""
    server = await raw(script(answer(gzip.compress(bytes(1000)), "Content-Encoding: gzip")))

    response = await http.send(post(server.url), timeout=AMPLE, max_body=1000)

    assert len(response.body) == 1000


async def test_a_cancelled_call_leaves_nothing_behind(raw: Any, http: AiohttpHttp) -> None:
    """Cancelling closes the connection; the next call works."""
    quiet = asyncio.Event()

    async def first_silent(_request: bytes, writer: asyncio.StreamWriter) -> None:
        if quiet.is_set():
            writer.write(answer())
        else:
            quiet.set()
            await asyncio.sleep(AMPLE)

    server = await raw(first_silent)
    call = asyncio.create_task(http.send(post(server.url), timeout=AMPLE))
    await quiet.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert (await http.send(post(server.url), timeout=AMPLE)).status == 200
    assert server.connections == 2


async def test_two_hundred_at_once_each_get_their_answer(raw: Any, http: AiohttpHttp) -> None:
    """Concurrent calls keep their own fence and their own answer."""

    async def echo(request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        writer.write(answer(request.partition(b"\r\n\r\n")[2]))

    server = await raw(echo)
    fences: list[int] = []

    async def one(number: int) -> bytes:
        request = Request.to("POST", server.url, content=str(number).encode())
        return (await http.send(request, timeout=AMPLE, fence=lambda: fences.append(number))).body

    bodies = await asyncio.gather(*(one(number) for number in range(200)))

    assert [str(number).encode() for number in range(200)] == bodies
    assert sorted(fences) == list(range(200))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_private_addresses_can_be_refused(raw: Any, host: str) -> None:
    """With private addresses refused, no connection is made to one, however it is named."""
    server = await raw(script(answer()))
    guarded = AiohttpHttp(allow_private=False)

    with pytest.raises(NotSent, match="open internet|Cannot assign|unreachable|Connect call failed"):
        await guarded.send(post(f"http://{host}:{server.port}"), timeout=5.0)

    assert server.connections == 0
    await guarded.close()
