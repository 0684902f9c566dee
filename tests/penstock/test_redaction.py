"""
A secret is recognised in every spelling it leaves in, and by its looks.
"""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest

from penstock.redaction import MASK, PASSING, REMEMBERED, Redactor

CANARY = 'c@nary+7f3a/9c=é"\\ tok'


def aware(*values: str) -> Redactor:
    redactor = Redactor()
    for value in values:
        redactor.add(value)
    return redactor


@pytest.mark.parametrize(
    "spell",
    [
        str,
        quote,
        quote_plus,
        lambda s: quote(s, safe=""),
        lambda s: quote(s, safe="").replace("%2B", "%2b").replace("%3D", "%3d"),
        lambda s: urlencode({"k": s}),
        json.dumps,
        lambda s: json.dumps(s, ensure_ascii=False),
        repr,
        lambda s: repr(s.encode()),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
        lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
        lambda s: base64.b64encode(f"me@acme.example/token:{s}".encode()).decode(),
        lambda s: base64.b64encode(f"a:{s}:more".encode()).decode(),
        lambda s: base64.b64encode(f"ab:{s}".encode()).decode(),
    ],
)
def test_a_live_secret_is_hidden_in_every_spelling(spell: object) -> None:
    """Plain, in a URL, in JSON, in a repr, in base64 at any offset: nothing of it is left to read."""
    text = f"before {spell(CANARY)} after"  # type: ignore[operator]

    hidden = aware(CANARY).hide(text)

    assert "***" in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
    for left in ("7f3a", "nary", base64.b64encode(CANARY.encode()).decode()[4:12]):
        assert left not in hidden


def test_each_line_of_a_long_secret_is_hidden() -> None:
    """A private key is hidden also when a log shows one of its lines."""
    lines = ["first-line-of-a-key-0001", "other-line-of-a-key-0002"]

    assert aware("\n".join(lines)).hide(f"> {lines[1]}") == "> ***"


def test_what_every_certificate_says_is_no_secret() -> None:
    """The first and last line of a key's file stay readable elsewhere."""
    known = aware("-----BEGIN CERTIFICATE-----\nfirst-line-of-ours-0001\n-----END CERTIFICATE-----")

    assert known.hide("-----BEGIN CERTIFICATE-----\nline-of-theirs") == "-----BEGIN CERTIFICATE-----\nline-of-theirs"


def test_a_secret_inside_another_leaves_nothing_of_the_longer() -> None:
    """The longest secret is hidden first."""
    assert aware("abcd1234", "abcd1234-suffix").hide("x abcd1234-suffix y") == "x *** y"


def test_very_short_values_are_left() -> None:
    """A secret of three letters would blank out ordinary words; it is no secret."""
    assert aware("cat").hide("concatenate") == "concatenate"


def test_a_rotated_secret_stays_hidden() -> None:
    """The old value is hidden after the new one is known."""
    assert aware("old-value-1", "new-value-2").hide("old-value-1 new-value-2") == "*** ***"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghij0123456789",
        "sk-ant-api03-abcdefghij0123456789",
        "xox" + "b-1234567890-abcdef",
        "xapp-1-A0000-123456",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_" + "a1" * 18,
        "github_pat_" + "a1" * 20,
        "AIza" + "Sy0123456789abcdefghijklmnopqrstuv",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_hidden(secret: str) -> None:
    """A credential nobody told us of is known by its form."""
    assert Redactor().hide(f"got {secret} here") == "got *** here"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer ***"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "{'authorization': 'Basic ***'}"),
        ("postgresql://hub:s3cret@db:5432/x", "postgresql://***@db:5432/x"),
        ("https://x.example/a?api_key=abc123&page=2", "https://x.example/a?api_key=***&page=2"),
        ("GET /cb?code=1&access_token=zzz HTTP/1.1", "GET /cb?code=1&access_token=*** HTTP/1.1"),
    ],
)
def test_credentials_in_their_places_are_hidden(text: str, expected: str) -> None:
    """Headers, URLs and query parameters keep their shape and lose their secret."""
    assert expected == Redactor().hide(text)


@pytest.mark.parametrize(
    "text",
    [
        "run 01HZX7 delivered ticket 4711 in 1.2 s",
        "https://acme.example/tickets/4711?page=2&sort=newest",
        "the key task-sk-list is not known",
        "pipelines.yaml:12:5: there is no model 'small'",
        "Bearer of bad news",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """What is not secret stays readable."""
    assert text == Redactor().hide(text)


def test_a_text_that_was_harmless_is_hidden_once_it_is_a_secret() -> None:
    """
    What a short text became is remembered, until there is another secret.
    """
    redactor = Redactor()
    assert redactor.hide("tulip-garden") == "tulip-garden"
    redactor.add("tulip-garden")

    assert redactor.hide("tulip-garden") == "***"


def test_what_is_remembered_is_bounded() -> None:
    """
    A log of ids that never come back does not grow the process.
    """
    redactor = Redactor()
    for number in range(REMEMBERED + 10):
        redactor.hide(f"run {number}")

    assert len(redactor._hidden) <= REMEMBERED


def test_passing_values_pass() -> None:
    """
    Of values that live for an hour the latest are known, so that years of them do not pile up; others stay.
    """
    redactor = Redactor()
    redactor.add("lasting-canary")
    for number in range(PASSING + 1):
        redactor.add_passing(f"passing-canary-{number:03}")

    shown = redactor.hide(f"lasting-canary passing-canary-000 passing-canary-001 passing-canary-{PASSING:03}")

    assert shown == f"{MASK} passing-canary-000 {MASK} {MASK}"
