"""
How well a connector is known to work: the points of the contract suite it has passed, in a file beside it.

`make quality` writes `quality.json` into the folder of each connector whose tests it ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penstock.errors import Invalid

FILE = "quality.json"

Tier = Literal["bronze", "silver", "gold"]
Kept = Literal[
    "passed",
    "exempt",  # it does not concern this connector
    "missing",  # nobody tried it
    "skipped",  # it could not be tried
    "failed",
]
TIERS: tuple[Tier, ...] = ("bronze", "silver", "gold")


class Point(BaseModel):
    """
    One thing that every connector must do.
    """

    model_config = ConfigDict(frozen=True)

    tier: Tier
    says: str


POINTS: Mapping[int, Point] = {
    1: Point(tier="bronze", says="Settings nobody declared, secrets that are missing and wrong values are refused."),
    2: Point(tier="bronze", says="Samples give exactly their events, valid and with lasting ids."),
    3: Point(tier="bronze", says="Forged, tampered and stale deliveries are refused; two secrets live in a rotation."),
    4: Point(tier="bronze", says="Handshakes are answered as the system wants them."),
    5: Point(tier="bronze", says="Health says ok, auth or down, within 5 seconds."),
    6: Point(tier="bronze", says="No secret is in a log, an error, a repr or an event."),
    7: Point(
        tier="silver", says="A delivery is taken only once its events are kept; delivered again, it is one event."
    ),
    8: Point(tier="silver", says="Sources lose nothing: crashes, ties, late commits and expired cursors."),
    9: Point(tier="silver", says="A write takes effect once, whatever happens to it."),
    10: Point(tier="silver", says="Each way to fail has its error, and the wait that was asked for."),
    11: Point(tier="silver", says="Our own writes are recognised when they come back."),
    12: Point(tier="silver", says="A credential that is refused for good costs at most three requests."),
    13: Point(tier="silver", says="Lookups give declared fields only, bounded, and texts unchanged."),
    14: Point(tier="gold", says="The event loop is never blocked; closing is quick and leaves nothing behind."),
    15: Point(tier="gold", says="What expires is renewed in time, and what was missed is read again."),
    16: Point(tier="gold", says="It ran against a double that we did not write."),
}


class State(BaseModel):
    """
    What became of one point.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Kept
    tests: int = 0
    """That passed."""
    reasons: tuple[str, ...] = ()
    """Why some or all of its tests do not concern the connector, or could not be tried."""


class Quality(BaseModel):
    """
    The quality block of one connector.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    connector: str
    tier: Tier | None
    """The highest whose points, and those of the tiers below it, are all passed or exempt."""
    date: str
    """Day of the run, in UTC."""
    suite: str
    """A digest of which tests there were: another one says that this is out of date."""
    points: dict[int, State]
    ours: tuple[str, ...] = Field(default=())
    """Systems it ran against that we wrote ourselves."""
    foreign: tuple[str, ...] = ()
    """Systems it ran against that others wrote, with their versions."""


def read(folder: Path) -> Quality | None:
    """
    Return the quality block in *folder*, None where there is none; raises `Invalid`.
    """
    path = folder / FILE
    try:
        return Quality.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        said = str(error).splitlines()[0]
        raise Invalid(f"the quality block cannot be read: {said}", where=str(path), hint="make quality") from None


def write(folder: Path, quality: Quality) -> None:
    """
    Put *quality* into *folder*.
    """
    data = quality.model_dump(mode="json", exclude_defaults=True) | {"tier": quality.tier}
    (folder / FILE).write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2) + b"\n")


def tier_of(points: Mapping[int, State]) -> Tier | None:
    """
    Return the tier that *points* reach.
    """
    reached: Tier | None = None
    for tier in TIERS:
        wanted = [number for number, point in POINTS.items() if point.tier == tier]
        if any(number not in points or points[number].state not in {"passed", "exempt"} for number in wanted):
            break
        reached = tier
    return reached
