"""
Requests go where they should, and nowhere else.
"""

from __future__ import annotations

import time

import pytest

from connectors.addresses import absolute, links, names_in, path_of
from penstock.errors import NotFound, Rejected, Unavailable

BASE = "https://api.example:8443/v2"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("7", "/t/7/x"),
        ("a/b", "/t/a%2Fb/x"),
        ("a b?c#d", "/t/a%20b%3Fc%23d/x"),
        ("ü", "/t/%C3%BC/x"),
        ("%2e%2e", "/t/%252e%252e/x"),
        ("...", "/t/.../x"),
    ],
)
def test_parts_are_escaped(text: str, path: str) -> None:
    """A part of a path never becomes two parts, a query or a fragment."""
    assert path == path_of("/t/{by}/x", {"by": text})


@pytest.mark.parametrize("text", ["", ".", "..", "a\x00b", "x" * 501])
def test_impossible_parts(text: str) -> None:
    """A part that no record can have is `NotFound`."""
    with pytest.raises(NotFound):
        path_of("/t/{by}/x", {"by": text})


def test_missing_parts() -> None:
    """A record id that does not have the pattern is `NotFound`."""
    with pytest.raises(NotFound):
        path_of("/t/{owner}", names_in("nonsense", {"issue": r"(?P<owner>\w+)/issues/\d+"}))


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("/things?page=2", BASE + "/things?page=2"),
        ("/v2/things?page=2", BASE + "/things?page=2"),
        ("/v2?page=2", BASE + "?page=2"),
        ("/v20/things", BASE + "/v20/things"),
        ("https://api.example:8443/v2/things?page=2", "https://api.example:8443/v2/things?page=2"),
        ("https://API.example:8443/other", "https://API.example:8443/other"),
    ],
)
def test_same_place(url: str, full: str) -> None:
    """Paths and links of the same host are followed."""
    assert full == absolute(BASE, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v2",
        "//evil.example/v2",
        "http://api.example:8443/v2",
        "https://api.example/v2",
        "https://api.example:8443.evil.example/",
        "ftp://api.example:8443/",
        "file:///etc/passwd",
        "javascript:alert(1)",
    ],
)
def test_another_host_is_refused(url: str) -> None:
    """A link to any other place is refused, so that the credential stays at home."""
    with pytest.raises(Rejected):
        absolute(BASE, url)


def test_links() -> None:
    """The targets of a Link header by their relation; anything odd is no link."""
    header = '<https://a.example/x?p=2>; rel="next", <https://a.example/x?p=9,10>; title="q"; rel="last", junk, <>; rel=first'

    assert {"next": "https://a.example/x?p=2", "last": "https://a.example/x?p=9,10", "first": ""} == links(header)
    assert {} == links("")


@pytest.mark.parametrize(
    "header",
    [
        '<https://a.example/2>; title="a, b; rel=prev"; rel="next"',
        "<https://a.example/2>; REL=Next",
        '<https://a.example/2> ; rel = "last next" ;; x',
        '<https://a.example/2>; rel="next"; rel="prev"',  # the first one counts
        '<https://a.example/2>; title="say \\"no\\""; rel=next, <https://a.example/1>; rel=first',
    ],
)
def test_links_as_they_may_be_written(header: str) -> None:
    """Quoted commas, capitals, several relations and other parameters."""
    assert "https://a.example/2" == links(header)["next"]
    assert "prev" not in links(header)


@pytest.mark.parametrize("piece", ["<>;", "<", "<a>  ", '<>;a="', "<>;a=b;", "<>; rel", "<>;;;;;", '\\"<>'])
def test_odd_links_take_no_time(piece: str) -> None:
    """As many characters as are read, of what has no end: each is looked at a few times, not once for each other."""
    began = time.process_time()
    links(piece * (64 * 1024 // len(piece)))

    assert time.process_time() - began < 0.5


def test_a_link_header_without_end() -> None:
    """It is an error, and not a last page."""
    with pytest.raises(Unavailable):
        links('<https://a.example/x>; rel="prev", ' * 10_000)
