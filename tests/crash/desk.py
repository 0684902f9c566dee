"""
The system that the scene writes to: one action of each class, and a log of what took effect.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from connectors.double import Answered, Asked, Double
from connectors.double_faults import Fault
from connectors.double_hooks import Hooks
from connectors.manifest_file import read_manifest

HUB = Path(__file__).parent / "hub"
MANIFEST = read_manifest(HUB / "connectors/desk/manifest.yaml")
SECRET = "what the desk signs with"  # of a pretended system
TOKEN = "desk-token-of-"  # and the worker's name
SLOWEST = 0.06  # seconds between a request and its effect
_SEQ = re.compile(r"^#(\d+) ")
_ACTIONS = {"entries": "register", "state": "put", "notes": "note", "rings": "ring", "mark": "mark"}


class Desk(Double):
    """
    Items with entries, a state, a mark, notes and rings.
    """

    routes = (
        ("GET", r"/me", "me"),
        ("GET", r"/items/(?P<item>[\w-]+)/notes", "list_notes"),
        ("POST", r"/items/(?P<item>[\w-]+)/entries", "register"),
        ("PUT", r"/items/(?P<item>[\w-]+)/state", "put"),
        ("PUT", r"/items/(?P<item>[\w-]+)/mark", "mark"),
        ("POST", r"/items/(?P<item>[\w-]+)/notes", "note"),
        ("POST", r"/items/(?P<item>[\w-]+)/rings", "ring"),
    )

    def __init__(self, *, calls: Path, random: Random) -> None:
        assert MANIFEST.verify is not None
        super().__init__(Hooks(MANIFEST.verify), calls=calls)
        self._random = random
        self.effects = 0
        """How many there were, doubles among them, of the actions that come once per event."""
        self._keys: set[str] = set()
        self._states: dict[str, int] = {}
        self._marks: dict[str, int] = {}
        self._notes: dict[str, list[dict[str, Any]]] = {}

    async def _answer(self, asked: Asked, fault: Fault | None, send: Any) -> None:
        await asyncio.sleep(self._random.uniform(0.0, SLOWEST))  # its sender may die meanwhile
        await super()._answer(asked, fault, send)

    def act(self, asked: Asked) -> Answered:
        """
        Do what is asked, and count it.
        """
        answered = super().act(asked)
        self.effects += answered.effect and not asked.path.endswith("/mark")
        return answered

    def authenticate(self, asked: Asked) -> str | None:
        return "hub" if asked.headers.get("authorization", "").startswith(f"Bearer {TOKEN}") else None

    def remark(self, asked: Asked) -> Mapping[str, Any]:
        """
        Say which worker did what for which event.
        """
        worker = asked.headers.get("authorization", "").removeprefix(f"Bearer {TOKEN}")
        if asked.method == "GET":
            return {"worker": worker}
        _, _, item, last = asked.path.split("/")
        return {"worker": worker, "action": _ACTIONS[last], "item": item, "seq": _seq(asked)}

    def me(self, _asked: Asked, actor: str) -> Answered:
        return Answered(body={"id": actor})

    def list_notes(self, _asked: Asked, _actor: str, item: str) -> Answered:
        """
        List the notes on an item.
        """
        return Answered(body={"notes": self._notes.get(item, [])})

    def register(self, asked: Asked, _actor: str, item: str) -> Answered:
        """
        Add an entry, once per key.
        """
        key = asked.headers["idempotency-key"]
        fresh = key not in self._keys
        self._keys.add(key)
        return Answered(status=201, body={"id": f"{item}/{key[:8]}"}, effect=fresh)

    def put(self, asked: Asked, _actor: str, item: str) -> Answered:
        """
        Set the state.
        """
        return _changed(self._states, item, _seq(asked))

    def mark(self, asked: Asked, _actor: str, item: str) -> Answered:
        """
        Set the mark.
        """
        return _changed(self._marks, item, _seq(asked))

    def note(self, asked: Asked, actor: str, item: str) -> Answered:
        """
        Add a note.
        """
        notes = self._notes.setdefault(item, [])
        notes.append({"id": f"{item}/{len(notes)}", "author": actor, "text": asked.json()["text"]})
        return Answered(status=201, body={"id": notes[-1]["id"]}, effect=True)

    def ring(self, asked: Asked, _actor: str, item: str) -> Answered:
        """
        Ring.
        """
        return Answered(status=201, body={"id": f"{item}/{_seq(asked)}"}, effect=True)


def _changed(values: dict[str, int], item: str, seq: int) -> Answered:
    before, values[item] = values.get(item), seq
    return Answered(body={}, effect=before != seq)


def _seq(asked: Asked) -> int:
    given = asked.json()
    if "seq" in given:
        return int(given["seq"])
    found = _SEQ.match(given["text"])
    assert found is not None, f"no number in {given}"
    return int(found[1])
