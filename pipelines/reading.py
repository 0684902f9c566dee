"""
YAML files as JSON data with places. YAML 1.2, and only the part of it that cannot surprise.

No aliases, anchors, merge keys, tags, directives, tabs, duplicate keys, empty values or keys that
are not text; one document; at most 256 kB and 40 levels. Nothing here raises: what is wrong is a finding.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from pipelines.findings import Finding
from pipelines.places import Keys, Place, Places, Spot, Style
from pipelines.yaml_errors import BRACES, explained

MOST = 256 * 1024  # bytes of one file
DEEPEST = 40  # levels
_LONGEST_NUMBER = 18  # characters; what is longer stays text
_BREAK = re.compile("\r\n|\r|\n")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NOTHING = ("", "~", "null", "Null", "NULL")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True)
class Read:
    """
    What a file says.
    """

    places: Places
    data: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    reported: set[Keys] = field(default_factory=set)
    """Where values are missing because a finding already says why."""
    text: str = ""


def read(path: Path) -> Read:
    """
    Read the file *path*; messages name it as it is given.
    """
    found = Read(places=Places(Place(str(path), 1, 1)))
    text = _text(path, found)
    if text is not None:
        found.text = text
        _Reader(text, str(path), found).read()
    return found


def _text(path: Path, found: Read) -> str | None:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST + 1)
        if len(raw) <= MOST:
            return raw.decode("utf-8-sig")
        problem = ("size", "is larger than 256 kB", "split it: `include: [pipelines/*.yaml]`")
        place = Place(str(path), 1, 1)
    except OSError as error:
        problem, place = (
            ("file", f"cannot be read: {error.strerror}", "name a file that exists"),
            Place(str(path), 1, 1),
        )
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        place = Place(str(path), before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        problem = ("utf-8", "this byte is not UTF-8", "save the file as UTF-8")
    rule, message, hint = problem
    found.findings.append(Finding(place=place, message=message, hint=hint, rule=f"yaml/{rule}"))
    return None


class _Stop(Exception):
    """
    Reading cannot go on; a finding says why.
    """


class _Reader:
    """
    Builds data from YAML events; nothing is expanded, so nothing can explode.
    """

    def __init__(self, text: str, file: str, found: Read) -> None:
        self._text, self._file, self._found = text, file, found
        self._lines = _BREAK.split(text)
        self._found.places.start = self._place(1, 1)

    def read(self) -> None:
        """
        Fill in what the file says.
        """
        if self._refused_characters():
            return
        try:
            self._events: Iterator[Event] = YAML(typ="safe", pure=True).parse(self._text)
            self._document()
        except _Stop:
            pass
        except MarkedYAMLError as error:
            self._broken(error)
        except YAMLError as error:
            self._finding("syntax", self._place(1, 1), f"is not YAML: {str(error).splitlines()[0]}")

    def _refused_characters(self) -> bool:
        if bad := _UNPRINTABLE.search(self._text):
            self._finding("character", self._at(bad.start()), f"the character U+{ord(bad[0]):04X} is not allowed")
            return True
        if (tab := self._text.find("\t")) >= 0:
            self._finding("tab", self._at(tab), "a tab: YAML is indented with spaces", "replace every tab by spaces")
            return True
        return False

    def _at(self, index: int) -> Place:
        before = _BREAK.split(self._text[:index])
        return self._place(len(before), len(before[-1]) + 1)

    def _place(self, line: int, column: int) -> Place:
        source = self._lines[line - 1] if line <= len(self._lines) else ""
        return Place(self._file, line, column, source)

    def _start(self, event: Event) -> Place:
        return self._place(event.start_mark.line + 1, event.start_mark.column + 1)

    def _once(self, rule: str, place: Place, message: str, hint: str) -> None:
        """
        Report only the first of its kind: who uses it once mostly uses it often.
        """
        if all(found.rule != f"yaml/{rule}" for found in self._found.findings):
            self._finding(rule, place, message, hint)

    def _finding(self, rule: str, place: Place, message: str, hint: str | None = None) -> None:
        name = rule if "/" in rule else f"yaml/{rule}"
        self._found.findings.append(Finding(place=place, message=message, hint=hint, rule=name))

    def _broken(self, error: MarkedYAMLError) -> None:
        marks = [mark for mark in (error.problem_mark, error.context_mark) if mark is not None]
        places = [self._place(mark.line + 1, mark.column + 1) for mark in marks] or [self._place(1, 1)]
        rule, place, message, hint = explained(error, places)
        if all(found.place != place for found in self._found.findings):
            self._finding(rule, place, message, hint)

    def _document(self) -> None:
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._finding(
                        "documents", self._start(event), "a second document begins here", "write one per file"
                    )
                    return
                if event.version or event.tags:
                    self._finding("directive", self._start(event), "directives (%) are not allowed: YAML 1.2 is read")
            elif isinstance(event, ScalarEvent | AliasEvent | MappingStartEvent | SequenceStartEvent):
                self._root(event)

    def _root(self, event: Event) -> None:
        place = self._start(event)
        if isinstance(event, ScalarEvent) and event.value == "":
            self._finding("empty", place, "the file is empty", "begin with `version: 1`")
            return
        data = self._node(event, (), place)
        if isinstance(data, dict):
            self._found.data = data
        else:
            self._finding("mapping", place, "the file is not a mapping", "begin with `version: 1`")

    def _node(self, event: Event, keys: Keys, key: Place) -> Any:
        """
        Return the value that *event* begins, and consume the events up to its end.
        """
        place = self._start(event)
        if len(keys) > DEEPEST:
            self._finding("depth", place, f"is nested more than {DEEPEST} levels deep")
            raise _Stop
        self._refuse_extras(event, place, keys)
        if isinstance(event, MappingStartEvent):
            self._found.places.add(keys, Spot(place, key))
            return self._braces(keys, place) if self._is_unquoted(event) else self._mapping(keys)
        if isinstance(event, SequenceStartEvent):
            self._found.places.add(keys, Spot(place, key))
            return self._sequence(keys)
        if isinstance(event, ScalarEvent):
            self._found.places.add(keys, Spot(place, key, _style(event)))
            return self._scalar(event, keys, place, key)
        return self._none(keys)

    def _none(self, keys: Keys) -> None:
        self._found.reported.add(keys)

    def _refuse_extras(self, event: Event, place: Place, keys: Keys) -> None:
        if isinstance(event, AliasEvent):
            self._once("alias", place, f"aliases (*{event.anchor}) are not allowed", "write the value out")
        if not isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent):
            return
        if event.anchor is not None:
            self._once("anchor", place, f"anchors (&{event.anchor}) are not allowed", "write the value out where used")
        if event.tag is not None:
            self._finding("tag", place, f"tags ({_tag(str(event.tag))}) are not allowed", "put text in quotes instead")
            self._none(keys)

    def _is_unquoted(self, event: MappingStartEvent) -> bool:
        start = event.start_mark.index
        return bool(event.flow_style) and self._text[start : start + 2] == "{{"

    def _braces(self, keys: Keys, place: Place) -> None:
        self._finding(
            BRACES,
            place,
            "a value that begins with {{ is a mapping in YAML",
            "expressions are bare here: leave out {{ }}",
        )
        self._skip()
        self._none(keys)

    def _skip(self) -> None:
        """
        Consume the rest of the collection that has just begun.
        """
        level = 1
        while level:
            event = next(self._events)
            level += isinstance(event, MappingStartEvent | SequenceStartEvent)
            level -= isinstance(event, MappingEndEvent | SequenceEndEvent)
            if level > DEEPEST:
                raise _Stop  # what is skipped is reported already

    def _mapping(self, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            place = self._start(event)
            name = self._key(event, place)
            inner = (*keys, "\0" if name is None else name)
            if name is not None and name in found:
                first = self._found.places.key(*inner)
                self._finding(
                    "duplicate-key", place, f"the key {name!r} is here twice", f"it is already in line {first.line}"
                )
                inner = (*keys, "\0")
            value = self._node(next(self._events), inner, place)
            if inner[-1] != "\0":
                found[str(name)] = value
        return found

    def _key(self, event: Event, place: Place) -> str | None:
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._finding("key", place, "a key is text, not a list or a mapping")
            self._skip()
            return None
        self._refuse_extras(event, place, ("\0",))
        if not isinstance(event, ScalarEvent):
            return None
        if _style(event) == "plain" and event.value == "<<":
            self._finding("merge-key", place, "merge keys (<<) are not allowed", "write the keys out")
            return None
        if _style(event) == "plain" and not isinstance(_resolved(event.value), str):
            self._finding("key", place, f"the key {event.value!r} is not text", "put it in quotes")
            return None
        return str(event.value)

    def _sequence(self, keys: Keys) -> list[Any]:
        found: list[Any] = []
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            found.append(self._node(event, (*keys, len(found)), self._start(event)))
        return found

    def _scalar(self, event: ScalarEvent, keys: Keys, place: Place, key: Place) -> Any:
        value = _resolved(event.value) if _style(event) == "plain" else str(event.value)
        if value is None:
            name = f"{keys[-1]!r} has" if keys and isinstance(keys[-1], str) and keys[-1] != "\0" else "this item has"
            self._finding("empty", key, f"{name} no value", "write one, or leave the key out")
            self._none(keys)
        if isinstance(value, str) and (bad := _UNPRINTABLE.search(value)):
            self._finding("character", place, f"the character U+{ord(bad[0]):04X} is not allowed")
            self._none(keys)
            return None
        return value


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _style(event: ScalarEvent) -> Style:
    if event.style in ("'", '"'):
        return "quoted"
    return "block" if event.style in ("|", ">") else "plain"


def _resolved(text: str) -> Any:
    """
    Return what plain *text* is by the core schema of YAML 1.2.
    """
    if text in _NOTHING:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text) if math.isfinite(float(text)) else text
    return text
