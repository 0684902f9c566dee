"""
Mistakes in manifests are told with their place.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.manifest_file import read_manifest
from penstock.errors import Invalid

GOOD = """\
name: tiny
description: A tiny system.
settings:
  url: {description: "Its address.", default: "https://tiny.example"}
  token: {description: "Its token.", secret: true}
url: url
auth: {bearer: token}
health: {get: /me, acts_as: body.id, detail: body.id}
lookups:
  thing:
    description: A thing.
    get: /things/{by}
    record: body
    fields:
      id: {description: "Its id.", value: item.id}
"""


def read(tmp_path: Path, text: str | bytes) -> str:
    folder = tmp_path / "tiny"
    folder.mkdir(exist_ok=True)
    path = folder / "manifest.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        read_manifest(path)
    except Invalid as error:
        return str(error)
    return ""


def test_a_good_manifest(tmp_path: Path) -> None:
    """The manifest the others are broken from is fine."""
    assert "" == read(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("health:", "helth:", "tiny/manifest.yaml:8:1: there is no key 'helth' here (did you mean 'health'?)"),
        (
            "health: {get: /me, acts_as: body.id, detail: body.id}\n",
            "",
            "tiny/manifest.yaml:1:1: the key 'health' is missing",
        ),
        ("    record: body\n", "", "tiny/manifest.yaml:11:5: a lookup has either 'record' or 'records'"),
        (
            "    get: /things/{by}",
            "    get: things/{by}",
            "tiny/manifest.yaml:12:10: string should match pattern '^/\\S*$'",
        ),
        ("value: item.id", "value: item.", "tiny/manifest.yaml:15:43: expected name or number, at column 5 of 'item.'"),
        ("value: item.id", "value: item.id()", "tiny/manifest.yaml:15:43: calls are not allowed"),
        ("auth: {bearer: token}", "auth: {bearer: url}", "tiny/manifest.yaml:1:1: 'url' is not a secret setting"),
        ("auth: {bearer: token}", "auth: {}", "tiny/manifest.yaml:7:7: auth is exactly one of"),
        ("name: tiny\n", "name: tiny\nname: tiny\n", "tiny/manifest.yaml:2:1: the key 'name' is there twice"),
        ("name: tiny", "name: &a tiny", "tiny/manifest.yaml:1:7: anchors and aliases are not allowed"),
        ("name: tiny", "name: !!python/name:os.system x", "tiny/manifest.yaml:1:7: the tag"),
        ("name: tiny", "name: [", "tiny/manifest.yaml:"),
        ("name: tiny", "\tname: tiny", "tiny/manifest.yaml:1:1: is not YAML"),
        ("secret: true", "secret: perhaps", "tiny/manifest.yaml:5:46: input should be a valid boolean"),
    ],
)
def test_mistakes_have_a_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Each mistake is one line with file, line, column and what is wrong."""
    assert old in GOOD
    found = read(tmp_path, GOOD.replace(old, new, 1))

    assert found.startswith(said), found


@pytest.mark.parametrize(
    "text", ["", "- a\n", "just text", b"\xff\xfe", "a: " + "[" * 5000, "x: 1\n" * 60_000, "a: *b", "? [a]\n: b\n"]
)
def test_what_is_no_manifest(tmp_path: Path, text: str | bytes) -> None:
    """Anything else is `Invalid`, never another error."""
    assert read(tmp_path, text)


def test_events_need_a_signature(tmp_path: Path) -> None:
    """A manifest cannot take deliveries that prove nothing."""
    rule = """\
events:
  - types: {thing.made: Made.}
    when: "true"
    type: "'thing.made'"
    id: body.id
    source: settings.url
    subject: body.id
    time: body.time
    data: {}
"""
    assert "unsigned deliveries are never believed" in read(tmp_path, GOOD + rule)
