"""
Answers that a batch on PostgreSQL has got before its operations ask.

They were read under the locks of the batch, so only the batch itself can make them wrong: what it writes
takes the answers about these rows away, and they are asked for again. A write that is not known here takes
all of them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ledger.connection import Row
from ledger.locks import Ask
from ledger.queries import queries

_PLACE = ("tenant", "pipeline", "lane")
_KEYS: dict[str, tuple[str, ...]] = {
    "known_run": ("run",),
    "known_before": ("run",),
    "lane": _PLACE,
    "next_of_lane": (*_PLACE, "run"),
    "step": ("run", "step", "generation"),
    "reservation": ("call",),
    "committed": ("run",),
    "budget": ("scope", "period"),
    "held_before": ("gate",),
    "last_write": ("connection", "record", "pipeline", "step"),
}
"""
Statements that give at most one row, each with the parameters they are asked with.
"""
_SPOILT: dict[str, tuple[str, ...]] = {
    "add_run": ("known_run", "next_of_lane", "committed"),
    "start_run": ("known_run", "next_of_lane"),
    "put_run_off": ("known_run", "next_of_lane"),
    "end_run": ("known_run", "next_of_lane"),
    "count_delivery": (),
    "keep_body": (),
    "forget_bodies": (),
    "add_lane": ("lane", "held_before"),
    "take_lane": ("lane", "held_before"),
    "leave_lane": ("lane", "held_before"),
    "pass_lane": ("lane", "held_before"),
    "drop_lane": ("lane",),
    "begin_step": ("step",),
    "end_step": ("step",),
    "leave_step": ("step",),
    "open_write": (),
    "end_write": ("last_write",),
    "leave_write": (),
    "drop_write": (),
    "reserve": ("reservation", "committed"),
    "book": ("reservation", "committed"),
    "add_cost": ("committed",),
    "keep_call": (),
    "keep_pace": (),
    "keep_asker": (),
    "keep_hit": (),
    "end_probe": (),
    "add_alert": (),
}
"""
Which answers a write takes away, as far as they are about what it names.
"""
_TYPES = {"run": "bytea", "call": "bytea", "generation": "bigint"}
_QUESTIONS = {queries[name]: name for name in _KEYS}
_WRITES = {queries[name]: name for name in (*_SPOILT, "add_budget", "move_money")}
_TICK = queries["tick"]

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """
    One row or none, as a cursor gives it.
    """

    row: Row | None
    rowcount: int = -1

    def fetchone(self) -> Row | None:
        """
        Return the row.
        """
        return self.row

    def fetchall(self) -> list[Row]:
        """
        Return it as a list.
        """
        return [] if self.row is None else [self.row]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.fetchall())


class Foreseen:
    """
    The answers of one batch.
    """

    def __init__(self) -> None:
        self._rows: dict[str, dict[Key, Row | None]] = {name: {} for name in _KEYS}
        self._of_lane: dict[Key, list[Key]] = {}
        """Per lane the keys of `next_of_lane`: any run of a lane may change who is next."""
        self._ticks: deque[Row] = deque()

    def keep(self, name: str, keys: Sequence[Key], rows: Iterable[tuple[int, Row]]) -> None:
        """
        Keep the answers to *keys*; a row comes with the place of its key, from 1, and others have none.
        """
        answers = self._rows[name]
        answers.update(dict.fromkeys(keys))
        answers.update((keys[place - 1], row) for place, row in rows)
        if name == "next_of_lane":
            for key in keys:
                self._of_lane.setdefault(key[:-1], []).append(key)

    def keep_ticks(self, rows: Iterable[Row]) -> None:
        """
        Keep numbers of the counter.
        """
        self._ticks.extend(rows)

    def answer(self, sql: str, named: Any) -> Answer | None:
        """
        Return what was kept of the answer to *sql*.
        """
        if sql == _TICK:
            return Answer(self._ticks.popleft()) if self._ticks else None
        if (name := _QUESTIONS.get(sql)) is None:
            return None
        answers, key = self._rows[name], _key(name, named)
        return Answer(answers[key]) if key in answers else None

    def written(self, sql: str, named: Any) -> None:
        """
        Take away what the write *sql* makes wrong.
        """
        name = _WRITES.get(sql)
        if name is None or not isinstance(named, Mapping):
            self.forget()
        elif name in _MONEY:
            self._follow(name, named)
        else:
            for spoilt in _SPOILT[name]:
                self._spoil(spoilt, named)

    def forget(self) -> None:
        """
        Take all answers away; numbers of the counter stay good.
        """
        for answers in self._rows.values():
            answers.clear()

    def _spoil(self, name: str, named: Mapping[str, Any]) -> None:
        if name == "next_of_lane":
            for key in self._of_lane.pop(tuple(named[part] for part in _PLACE), ()):
                self._rows[name].pop(key, None)
        elif name == "last_write":
            self._rows[name].clear()  # whoever ends a write names its run, not its record
        elif name == "held_before":
            if named.get("gate", "any") is not None:  # a lane that shows no gate was held until now
                self._rows[name].clear()
        else:
            self._rows[name].pop(_key(name, named), None)

    def _follow(self, name: str, named: Mapping[str, Any]) -> None:
        """
        Do to a known budget row what the statement does: all calls of a batch are under the same few.
        """
        answers, key = self._rows["budget"], _key("budget", named)
        if key in answers:
            answers[key] = _MONEY[name](answers[key], named)


def keys(asks: Iterable[Ask]) -> tuple[dict[str, list[Key]], int]:
    """
    Return the different keys of *asks* by statement, and how many numbers of the counter they want.
    """
    found: dict[str, dict[Key, None]] = {}
    ticks = 0
    for name, named in asks:
        if name == "tick":
            ticks += 1
        else:
            found.setdefault(name, {})[_key(name, named)] = None
    return {name: list(different) for name, different in found.items()}, ticks


def named(name: str, wanted: Sequence[Key]) -> dict[str, list[Any]]:
    """
    Return what `together` of *name* is asked with.
    """
    return dict(zip(_KEYS[name], map(list, zip(*wanted, strict=True)), strict=True))


@cache
def together(name: str) -> str:
    """
    Return the statement that answers *name* for many keys at once, with the place of each key as its last column.
    """
    one, parts = queries[name].rstrip(";"), _KEYS[name]
    for part in parts:
        one = re.sub(rf":{part}\b", f"asked.{part}", one)
    lists = ", ".join(f"CAST(:{part} AS {_TYPES.get(part, 'text')}[])" for part in parts)
    names = ", ".join(parts)
    return (
        f"SELECT found.*, asked.place FROM unnest({lists}) WITH ORDINALITY AS asked({names}, place) "  # noqa: S608 # our words
        f"CROSS JOIN LATERAL ({one}\n) AS found"
    )


def _key(name: str, named: Mapping[str, Any]) -> Key:
    return tuple(named[part] for part in _KEYS[name])


def _added(row: Row | None, named: Mapping[str, Any]) -> Any:
    return {part: row[part] if row else 0 for part in _SUMS} | {part: named[part] for part in _RULES}


def _moved(row: Row | None, named: Mapping[str, Any]) -> Any:
    return row and {part: row[part] + named[part] for part in _SUMS} | {part: row[part] for part in _RULES}


_SUMS, _RULES = ("spent", "reserved"), ("cap", "alert_at")
_MONEY: dict[str, Callable[[Row | None, Mapping[str, Any]], Any]] = {"add_budget": _added, "move_money": _moved}
