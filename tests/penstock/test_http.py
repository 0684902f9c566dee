"""
A request says exactly what it was built from.
"""

from __future__ import annotations

import httpx
import pytest

from penstock.http import Request

URL = "https://api.example/a"


@pytest.mark.parametrize(
    "params",
    [
        {"q": "ü&=+ %"},
        {"ids": ["1", "2"]},
        {"deep": True, "none": None, "number": 7},
        {"cursor": "a/b?c#d"},
    ],
)
def test_params_are_read_as_they_were_given(params: dict[str, object]) -> None:
    """Any server reads the query as it reads httpx's."""
    ours, theirs = Request.to("GET", URL, params=params), httpx.Request("GET", URL, params=params)

    assert theirs.url.params == httpx.URL(str(ours.url)).params


def test_params_come_behind_the_query_that_is_there() -> None:
    """Nothing of a URL is lost."""
    assert f"{URL}?x=1&y=2" == str(Request.to("GET", f"{URL}?x=1", params={"y": 2}).url)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://api.example/a%2Fb/c%20d?q=%26", "https://api.example/a%2Fb/c%20d?q=%26"),
        ("https://api.example/a b\r\nx: y", "https://api.example/a%20b%0D%0Ax:%20y"),
        ("https://api.example/ü", "https://api.example/%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_a_url_is_sent_as_it_was_written(given: str, sent: str) -> None:
    """What is encoded stays, what cannot stand in a URL is encoded."""
    assert sent.rstrip("/") == str(Request.to("GET", given).url).rstrip("/")


def test_a_body_of_json_says_so() -> None:
    """Names of headers are small; a content type that was given stays."""
    request = Request.to("POST", URL, json={"text": "ü"}, headers={"X-Key": "1"})
    patch = Request.to("PATCH", URL, json=[], headers={"Content-Type": "application/json-patch+json"})

    assert {"x-key": "1", "content-type": "application/json"} == request.headers
    assert '{"text":"ü"}'.encode() == request.content
    assert {"content-type": "application/json-patch+json"} == patch.headers
    assert b"[]" == patch.content


def test_what_is_sent_is_not_shown() -> None:
    """A credential and a text are in no representation."""
    shown = repr(Request.to("POST", URL, headers={"authorization": "Bearer hush"}, content=b"hush"))

    assert "hush" not in shown
