"""
What is known of a secret that a store keeps: its live values, how old they are, when to ask again.

A secret is asked for again after its life. An outage of its store leaves it in use for `STALE` at most; the word
of the store that there is none ends it at once.
"""

from __future__ import annotations

import contextlib
import random

import orjson

from penstock.redaction import Redactor
from penstock.secrets.references import SecretRef
from penstock.secrets.stores.contract import OVERLAP, NotGiven, Versions
from penstock.secrets.values import Secret

LIFE = 300.0  # seconds until a secret is asked for again
JITTER = 0.1  # of it, either way, so that many hubs do not ask at once
STALE = 4 * 3600.0  # seconds beyond its life a secret is used whose store gives no answer
AGAIN = 30.0  # seconds until a store that failed is asked again
HURRIED = 10.0  # seconds between two asks, however urgent


class Kept:
    """
    One secret of a store. Several references may lead into it, each to its own field.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._current: Secret | None = None
        self._previous: Secret | None = None
        self._previous_until = 0.0
        self._problem = NotGiven("was not fetched yet", "away")
        self._asked = 0.0
        self._live: dict[SecretRef, tuple[Secret, ...]] = {}
        self.due = 0.0
        """When to ask next, by the monotonic clock."""
        self.tried = float("-inf")
        """When it was asked for last, with whatever result."""
        self.failing = False
        """Whether the last try brought nothing."""

    def values(self, ref: SecretRef, now: float) -> tuple[Secret, ...]:
        """
        Return the live values of *ref*, the newest first.

        Raises `NotGiven` when the store gave none, none for too long, or none in this field.
        """
        if self._current is None or now - self._asked > LIFE + STALE:
            raise self._problem
        if now > self._previous_until:
            self._forget_previous()
        if (found := self._live.get(ref)) is None:
            found = self._live[ref] = self._picked(self._current, ref)
        return found

    def take(self, versions: Versions, asked: float) -> bool:
        """
        Keep what the store gave when it was *asked*; return whether it is another secret than before.
        """
        before, self._current = self._current, versions.current
        changed = before is not None and before != versions.current
        if versions.told:
            self._previous, self._previous_until = versions.previous, float("inf")
        elif changed:
            self._previous, self._previous_until = before, asked + OVERLAP
        self._live.clear()
        self._asked, self.failing = asked, False
        self.due = asked + LIFE * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load
        return changed

    def fail(self, problem: NotGiven, now: float) -> None:
        """
        Remember why there was no answer, or that there is no such secret any more.
        """
        self._problem, self.failing = problem, True
        self.due = now + AGAIN * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load
        if problem.why == "gone":
            self._current = None
            self._forget_previous()
            self._live.clear()

    def hurry(self) -> None:
        """
        Ask again soon: somebody refuses what we have.
        """
        self.due = min(self.due, self.tried + HURRIED)

    def _forget_previous(self) -> None:
        self._previous, self._previous_until = None, float("inf")
        self._live.clear()

    def _picked(self, current: Secret, ref: SecretRef) -> tuple[Secret, ...]:
        values = [_field(current, ref)]
        if self._previous is not None:
            with contextlib.suppress(NotGiven):  # the version before may have had no such field
                values.append(_field(self._previous, ref))
        for value in values:
            self._redactor.add(value.reveal())
        return tuple(dict.fromkeys(values))


def _field(secret: Secret, ref: SecretRef) -> Secret:
    if not ref.key:
        if not secret.reveal().strip():
            raise NotGiven("is empty: write the secret into it", "gone")
        return secret
    try:
        found = orjson.loads(secret.reveal())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotGiven(f"is no JSON object, so it has no field {ref.key!r}: leave '#{ref.key}' out", "gone")
    value = found.get(ref.key)
    if not isinstance(value, str) or not value.strip():
        state = "has no field" if value is None else "has no text in the field"
        raise NotGiven(f"{state} {ref.key!r}: write it into the secret, or name another field", "gone")
    return Secret(value)
