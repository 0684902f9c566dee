from __future__ import annotations

from pathlib import Path

import pytest

from ai.evidence import unsupported
from penstock import HOUSE

CONTEXT = """Order ORD-4711 placed 2026-11-03T10:11:00Z for 1.234,50 EUR. Contact jane@acme.com or
https://acme.com/help/. Refund of $49.99 within 48 hours. order 12345. Phone +49 170 1234567. 300 days;
the file is 100 MB on v1.22.3 build 5.6 sku A1-B2-777. Commit a3f9c1e. Rechnung vom 12. Oktober 2026."""


@pytest.mark.parametrize(
    "text",
    [
        "Order #ORD 4711 of 3 November 2026 (€1,234.50)",
        "ord4711 on 03/11/2026", "Nov 3", "November 3rd, 2026", "3 novembre 2026", "2026/11/03", "11/03/26",
        "order 4711", "49.99 USD", "49,99 €", "1234.5", "1,234.50", "1 234,50",
        "3 orders in 2 days", "48-hour window", "a 300-day trial", "100MB", "24/7", "at 10:30", "GPT-4",
        "https://acme.com/help", "see www.acme.com/help.", "HTTPS://ACME.COM/help", "jane@acme.com", "Jane@Acme.com.",
        "+491701234567", "0170 1234567", "(0170) 123-4567", "order-12345", "v1.22.3", "1.22.3", "build 5.6.",
        "A1-B2-777.", "a3f9c1e", "October 12", "12.10.2026", "", "nothing to check",
    ],
)  # fmt: skip
def test_what_the_context_says(text: str) -> None:
    """
    A value copied in another spelling is supported.
    """
    assert unsupported({"a": text}, CONTEXT) == ()


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("4 November", "4 November"), ("2025-11-03", "2025-11-03"), ("13 Oct 2026", "13 Oct 2026"),
        ("ORD-4712", "ORD-4712"), ("order #99887766", "99887766"), ("$50", "50"), ("1.2k EUR", "1.2k"),
        ("1,234.51", "1,234.51"), ("50%", "50"), ("in 2027", "2027"), ("version 2.3.1", "2.3.1"),
        ("https://evil.example/x", "https://evil.example/x"), ("https://acme.com.evil.example/help", "https://acme.com.evil.example/help"),
        ("bob@acme.com", "bob@acme.com"), ("A1-B2-778", "A1-B2-778"), ("b4f9c1e22", "b4f9c1e22"),
        ("+49 170 7654321", "7654321"),
    ],
)  # fmt: skip
def test_what_the_context_does_not_say(text: str, missing: str) -> None:
    """
    An id, amount, date or address that the context lacks is named.
    """
    found = unsupported({"a": [{"b": text}]}, CONTEXT)

    assert any(missing in value for value in found), found


@pytest.mark.parametrize(
    "text",
    [
        "![a](//evil.example/p)", "[a](evil)", "[a](https:\\\\evil.example/p)", "[a](javascript:go)", "[a]\n[a]: evil", "> [a]: evil",
        "<img src=evil>", "<a href = 'evil'>", "ftp://evil.example/p", "//evil.example/p", "evil.example/p?d=gold",
        "www.evil.example", "mailto:me@evil.example", "thanks @everyone", "@acme/owners please", "[a](<evil>)",
        "evil.com", "at EVIL.Com.", "e\u0301vil.com", "\u0430cme.com", "acme.co", "acme.com.co", "x.acme.com", "evil.xn--p1ai", "зло.рф",
        "evil.com:8080", "evil.com?d=gold", "see:evil.com", "https:evil.com", "https:/evil.com", "http://0x7f000001/", "//2130706433/x",
        "ｅｖｉｌ．com", "evil。com", "%65vil.com", "evil%2ecom", "&#101;vil.com", "evil&period;com", "evil&amp;period;com", "evil\\.com",
        "https://acme.com/HELP", "https://acme.com/help?d=gold", "https://acme.com@evil.com/help", "https://acme.com/help/../x",
        "[https://acme.com/help](https://acme.co/help)", "[www.acme.com](https://shop.example)", "[shop.example](https://acme.com/help)", "data:text/html;base64,PGI+", "vbscript:go",
        "x/@everyone", "<!channel>", "<@U024BE7LH>", "&#64;everyone", "＠everyone", "jane@acme.com.evil.com", "gold@acme.com",
    ],
)  # fmt: skip
def test_where_nothing_of_the_context_leads(text: str) -> None:
    """
    A link, an image or a mention that the context does not have is named, however it is spelled.
    """
    assert unsupported(text, CONTEXT)


@pytest.mark.parametrize(
    "text",
    [
        "[help](https://acme.com/help)", "![h](//acme.com/help/)", "acme.com/help", "mailto:jane@acme.com", "a/b and/or c",
        "1/2 of it", "see src/main.py", "a == b", "@ noon", "x[1] = y[2]", "f(x)",
        "acme.com", "ACME.com.", "[acme.com](https://acme.com/help)", "[see main.py](https://shop.example/b/main.py)", "https://shop.example/a?x=1&y=2", "shop.example/a?x=1&y=2",
        "Node.js", "e.g. this, i.e. that, Ph.D., U.S.", "at 10.30 a.m.", "JavaScript: the error", "data: the table", "well...then", "AT&T", "100%",
    ],
)  # fmt: skip
def test_where_the_context_leads_too(text: str) -> None:
    """
    An address of the context may be spelled as a link; what is no address passes.
    """
    assert (
        unsupported(
            text, CONTEXT + " src/main.py https://shop.example/a?x=1&amp;y=2 https://shop.example/b/main.py 10.30 100 %"
        )
        == ()
    )


@pytest.mark.parametrize(
    "page", [*sorted((HOUSE / "docs").rglob("*.md")), HOUSE / "CHANGELOG.md"], ids=lambda page: page.name
)
def test_what_is_copied_is_never_refused(page: Path) -> None:
    """
    Every paragraph of a page is supported by the page: links, paths, file names and all.
    """
    text = page.read_text("utf-8")

    assert {} == {part: found for part in text.split("\n\n") if (found := unsupported(part, text))}


def test_what_the_schema_offers_needs_no_evidence() -> None:
    """
    A value of an enumeration may look like an id.
    """
    assert unsupported({"sla": "P1-2024"}, CONTEXT, ["P1-2024"]) == ()
    assert unsupported({"sla": "P1-2024"}, CONTEXT) == ("P1-2024",)


def test_each_once_and_not_too_many() -> None:
    """
    Repeated inventions are told once, and a flood is cut.
    """
    flood = " ".join(f"XX-{number:05d}" for number in range(100)) + " XX-00001"

    assert len(unsupported({"a": flood}, CONTEXT)) == 8


@pytest.mark.parametrize(
    "text",
    [
        "9" * 50_000,
        "a1" * 50_000,
        "1.1." * 20_000,
        "x@" * 50_000,
        "+1 " * 30_000,
        "http://" * 9_000,
        "a." * 50_000,
        "a-" * 50_000 + ".com",
        "[" * 50_000,
        "&amp;" * 20_000,
    ],
)
def test_odd_texts_end(text: str) -> None:
    """
    Hostile texts are checked without an error and without going through the roof.
    """
    assert isinstance(unsupported({"a": text}, text), tuple)
