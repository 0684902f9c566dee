"""
What became of the events, by the doubles' logs; when who was dead or stopped says the harness's journal.
What the ledger says is believed only against the hub: that an answer was kept, and that no lane was lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from tests.crash.model import question

GRACE = 2.0  # seconds a living worker needs at most to read an answer and to keep it
PIPELINE_OF = {"register": "keyed", "put": "keyed", "note": "read-back", "ring": "blind", "mark": "burst"}
CLASSES = {"register": "keyed", "put": "keyed", "note": "read-back", "ring": "blind", "mark": "keyed"}
"""The desk's actions, and the class of each."""
SETTLES = frozenset({"mark"})
"""Those that come once per burst, for its newest event."""
Effect = tuple[str, str, int]
"""Action (or pipeline), item, number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """
    What is wrong, and what has to be told.
    """

    events: int
    lost: tuple[Effect, ...]
    """Accepted, and an action never took effect; for a blind one: and no person was asked."""
    parked: int
    """Blind actions that wait for a person."""
    duplicated: Mapping[str, tuple[Effect, ...]]
    """Per class of action."""
    finished_again: tuple[Effect, ...]
    """Asked again though the answer was kept, or was sent whole to a worker that lived on."""
    in_flight_again: int
    """Asked again because a worker died or was stopped with the answer under way."""
    slowest: float
    """Seconds it took a worker at most to read an answer that was kept."""
    stopped_again: tuple[Effect, ...]
    """Of all repetitions without an excuse, those of workers that were stopped cleanly."""
    disordered: tuple[Effect, ...]
    """Took effect after a later one of its lane."""

    @property
    def faults(self) -> dict[str, tuple[Effect, ...]]:
        """
        Return what must be empty.
        """
        return {
            "lost": self.lost,
            "keyed duplicates": self.duplicated["keyed"],
            "blind duplicates": self.duplicated["blind"],
            "order violations": self.disordered,
            "finished model calls repeated": self.finished_again,
            "repeated after a clean stop": self.stopped_again,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """
    What the ledger says of the model's answers.
    """

    kept: Mapping[str, float] = field(default_factory=dict)
    """The answers that it keeps, by their ids, and when each had been read."""
    taken: frozenset[Effect] = frozenset()
    """The events whose worker was called dead with a call under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """
    One finished call of the model.
    """

    call: str
    about: Effect
    worker: str
    asked: float
    sent: float | None
    """When the answer had left whole; None when it had not."""
    again: float = 0.0
    """When the same was asked the next time."""
    by: str = ""
    """Who did."""


def judge(folder: Path, *, parked: Iterable[tuple[str, int]], told: Told) -> Judgement:
    """
    Judge the run whose logs lie in *folder*; *parked* names the blind actions (item, number) a person decides,
    *told* is what the ledger says.
    """
    accepted = [(line["item"], line["seq"]) for line in _lines(folder / "source.jsonl")]
    faults = list(_lines(folder / "faults.jsonl"))
    desk = list(_lines(folder / "desk.jsonl"))
    effects = [line for line in desk if line["effect"]]
    done = Counter((line["action"], line["item"], line["seq"]) for line in effects)
    waiting = set(parked)
    wanted = [(action, item, seq) for item, seq in accepted for action in CLASSES]
    marked = _newest(done)
    missing = [effect for effect in wanted if effect not in done and effect[2] > marked.get(effect[:2], 0)]
    twice = [effect for effect, count in done.items() if count > 1]
    deaths = {fault["worker"]: float(fault["since"]) for fault in faults if fault["kind"] in {"kill", "point"}}
    calls = sorted(_askings(folder / "model.jsonl", deaths), key=lambda call: call.asked)
    again = list(_repeated(calls))
    outages = [fault for fault in faults if fault.get("ledger")]
    kept = _finished(again, calls, desk, outages) | {asking for asking in again if asking.call in told.kept}
    excused = [asking for asking in again if asking not in kept and _excused(asking, faults, told)]
    finished = [asking for asking in again if asking not in excused]
    cleanly = {fault["worker"] for fault in faults if fault["kind"] == "stop"}
    return Judgement(
        events=len(accepted),
        lost=tuple(effect for effect in missing if effect[0] != "ring" or effect[1:] not in waiting),
        parked=len(waiting),
        duplicated={kind: tuple(e for e in twice if CLASSES[e[0]] == kind) for kind in ("keyed", "read-back", "blind")},
        finished_again=tuple(asking.about for asking in finished),
        in_flight_again=len(excused),
        slowest=max(
            (told.kept[one.call] - one.sent for one in calls if one.sent and one.call in told.kept), default=0.0
        ),
        stopped_again=tuple(_of_the_stopped(effects, finished, cleanly, faults)),
        disordered=tuple(_disordered(effects)),
    )


def _newest(done: Iterable[Effect]) -> dict[tuple[str, str], int]:
    """
    Return the highest number that each settling action was done for: it stands for those before.
    """
    newest: dict[tuple[str, str], int] = {}
    for action, item, seq in done:
        if action in SETTLES:
            newest[action, item] = max(seq, newest.get((action, item), 0))
    return newest


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        with file.open("rb") as lines:
            for line in lines:
                yield orjson.loads(line)


def _askings(file: Path, deaths: Mapping[str, float]) -> list[Asking]:
    """
    Return the finished calls; a busy model may look at a question only after whoever asked it has died.
    """
    came: dict[str, float] = {}
    sent: dict[str, float] = {}
    calls: list[dict[str, Any]] = []
    for line in _lines(file):
        if "came" in line:
            came[line["came"]] = line["at"]
        elif "sent" in line:
            sent[line["sent"]] = line["at"]
        elif line["outcome"] == "ok":
            calls.append(line)
    return [
        Asking(
            call=call["id"],
            about=question(call["begins"]),
            worker=call["key"],
            asked=min(came[call["id"]], deaths.get(call["key"], came[call["id"]])),
            sent=sent.get(call["id"]),
        )
        for call in calls
    ]


def _repeated(askings: Sequence[Asking]) -> Iterator[Asking]:
    """
    Yield every call that another about the same event followed.
    """
    latest: dict[Effect, Asking] = {}
    for asking in askings:
        if asking.about in latest:
            yield replace(latest[asking.about], again=asking.asked, by=asking.worker)
        latest[asking.about] = asking


def _finished(
    again: Sequence[Asking],
    calls: Sequence[Asking],
    desk: Sequence[Mapping[str, Any]],
    outages: Sequence[Mapping[str, Any]],
) -> set[Asking]:
    """
    Return the calls whose answer surely was kept before it was asked for again.

    Either a delivery of that very event had begun: nothing is delivered before the answer is kept. Or the
    worker delivered what a *later* answer said: it reads and keeps answers in the order in which they come.
    """
    begun: dict[tuple[Effect, str], float] = {}
    first: dict[Effect, float] = {}
    for line in sorted(desk, key=lambda line: float(line["at"])):
        if "action" in line:
            about = (PIPELINE_OF[line["action"]], line["item"], line["seq"])
            begun.setdefault((about, line["worker"]), line["at"] / 1000)
            first.setdefault(about, line["at"] / 1000)
    acted: dict[str, list[tuple[float, float]]] = defaultdict(list)
    """Per worker: when an answer was sent, and when it acted upon it."""
    for call in calls:
        if call.sent is not None and begun.get((call.about, call.worker), 0.0) > call.sent:
            acted[call.worker].append((call.sent, begun[call.about, call.worker]))
    return {
        one
        for one in again
        if one.sent is not None and _kept(one, one.sent, () if _in_outage(one, outages) else acted[one.worker], first)
    }


def _kept(one: Asking, sent: float, acted: Sequence[tuple[float, float]], first: Mapping[Effect, float]) -> bool:
    return first.get(one.about, one.again) < one.again or any(sent < later and act < one.again for later, act in acted)


def _in_outage(asking: Asking, outages: Sequence[Mapping[str, Any]]) -> bool:
    """
    Say whether no ledger could be written when the answer came: answers are kept in another order then.
    """
    return any(
        fault["since"] <= (asking.sent or asking.asked) + 1 and asking.asked <= fault["until"] for fault in outages
    )


def _excused(asking: Asking, faults: Sequence[Mapping[str, Any]], told: Told) -> bool:
    """
    Say whether the worker may not have read and kept the answer: it did not leave whole, or within the time that
    takes the worker died or was stopped, or the ledger says that another took its lane, because it had no turn on a
    busy machine. The time is longer while no ledger can be written.
    """
    if asking.sent is None or (asking.by != asking.worker and asking.about in told.taken):
        return True
    end = asking.sent + GRACE
    for fault in sorted((one for one in faults if one.get("ledger")), key=lambda one: float(one["since"])):
        if fault["since"] <= end and asking.asked <= fault["until"] + GRACE:
            end = max(end, fault["until"] + GRACE)
    return any(
        fault["worker"] == asking.worker
        and fault["kind"] != "stop"
        and fault["since"] <= end
        and asking.asked <= fault["until"]
        for fault in faults
    )


def _of_the_stopped(
    effects: Sequence[Mapping[str, Any]],
    finished: Sequence[Asking],
    cleanly: set[str],
    faults: Sequence[Mapping[str, Any]],
) -> Iterator[Effect]:
    harmed = {fault["worker"] for fault in faults if fault["kind"] != "stop"}
    clean = cleanly - harmed
    yield from (asking.about for asking in finished if asking.worker in clean)
    before: dict[Effect, str] = {}
    for line in effects:
        effect = (line["action"], line["item"], line["seq"])
        if before.get(effect) in clean:
            yield effect
        before[effect] = line["worker"]


def _disordered(effects: Sequence[Mapping[str, Any]]) -> Iterator[Effect]:
    """
    Yield what took effect for the first time after a later change of its lane had.
    """
    highest: dict[tuple[str, str], int] = defaultdict(int)
    seen: set[Effect] = set()
    for line in effects:
        effect = (line["action"], line["item"], line["seq"])
        if effect not in seen and line["seq"] < highest[effect[:2]]:
            yield effect
        seen.add(effect)
        highest[effect[:2]] = max(highest[effect[:2]], line["seq"])
