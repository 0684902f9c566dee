"""
How a double fails when told to.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal, get_args

Kind = Literal[
    "status",  # answer with a status and do nothing
    "slow",  # wait, then do it
    "hang",  # wait, do nothing, hang up
    "drop-before",  # hang up and do nothing
    "drop-during",  # do it, then hang up in the middle of the answer
    "drop-after",  # do it, then hang up without an answer
    "garbage",  # do it, and answer what is not JSON
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """
    One way to fail, for the next *times* requests that match.
    """

    kind: Kind
    match: str = ""
    """Pattern searched in `METHOD /path`."""
    times: int = 1
    skip: int = 0
    """Matching requests that pass first."""
    status: int = 503
    body: Any = None
    retry_after: str | None = None
    """Sent as it is; `date:7` becomes the HTTP date in 7 seconds."""
    seconds: float = 0.0

    @property
    def effect(self) -> bool:
        """
        Whether the request is carried out.
        """
        return self.kind in ("slow", "drop-during", "drop-after", "garbage")

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Fault:
        """
        Read a fault from JSON data; raises `ValueError` or `TypeError`.
        """
        if data.get("kind") not in get_args(Kind):
            raise ValueError(f"kind is one of {', '.join(get_args(Kind))}")
        re.compile(data.get("match", ""))
        return cls(**data)


class Faults:
    """
    The faults to come, oldest first.
    """

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """
        Let *fault* happen.
        """
        self._waiting.append(fault)

    def clear(self) -> None:
        """
        Let nothing happen any more.
        """
        self._waiting.clear()

    def take(self, request: str) -> Fault | None:
        """
        Return the fault *request* (`METHOD /path`) meets, and count it.
        """
        for place, fault in enumerate(self._waiting):
            if not re.search(fault.match, request):
                continue
            if fault.skip > 0:
                self._waiting[place] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.times > 1:
                self._waiting[place] = replace(fault, times=fault.times - 1)
            else:
                del self._waiting[place]
            return fault
        return None


def later(fault: Fault) -> dict[str, str]:
    """
    Return the Retry-After header of *fault*.
    """
    if fault.retry_after is None:
        return {}
    if fault.retry_after.startswith("date:"):
        moment = datetime.now(UTC) + timedelta(seconds=float(fault.retry_after.removeprefix("date:")))
        return {"retry-after": format_datetime(moment, usegmt=True)}
    return {"retry-after": fault.retry_after}


async def hang_up(send: Any) -> None:
    """
    Close the connection under uvicorn's *send* without a byte.
    """
    transport = send.__self__.transport
    transport.abort()
    await asyncio.sleep(0.01)  # until uvicorn has seen it, so that it answers nothing itself
