"""
Beats: how many events each source sends, and since when it is silent.

A source is a poll or a stream by its name, or `webhook`; `*` stands for all of a connection together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

SILENT = "silent"
"""
Kind of parcel.
"""
HOUR = 3_600_000  # ms
WEEKS = 4
"""Of how many weeks the usual rate of an hour is learned."""
LEARNED = WEEKS * 7 * 24 + 2  # hours that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """
    What a source sent of late; with no events only that it is listened to.
    """

    connection: str
    source: str
    events: int = 0
    at: int = 0
    """UTC ms of the last of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """
    When a source was heard.
    """

    connection: str
    source: str
    first_at: int
    """UTC ms at which it was first listened to."""
    last_at: int | None
    """UTC ms of its last event; None before the first."""
    quiet_from: int
    """UTC ms from which on somebody has listened in vain: hours in which no hub ran do not count."""
    watched_at: int
    """UTC ms at which somebody listened last."""
    silent_at: int | None
    """UTC ms at which people were told that it is silent; None while it speaks."""


class Beats(Protocol):
    """
    Keeps what sources send.
    """

    async def beat(self, beats: Sequence[Beat], *, watched: Collection[tuple[str, str]], gap: float) -> None:
        """
        Count what was heard, and note that the sources *watched* (connection, source) are listened to now.

        After *gap* seconds in which nobody did, what is quiet begins to be so now. Who was silent and is heard
        again is silent no more.
        """
        ...

    async def pulses(self) -> list[Pulse]:
        """
        Return every source that was ever listened to.
        """
        ...

    async def beats(self, connection: str, source: str, since: int) -> dict[int, int]:
        """
        Return the events of a source by hour since the epoch, from hour *since* on; hours without any are absent.
        """
        ...

    async def fall_silent(self, pulse: Pulse, told: Mapping[str, Any]) -> bool:
        """
        Let people be told, once until it is heard again, that a source is silent; False when it is not, or they were.
        """
        ...
