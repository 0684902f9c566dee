"""
What must hold, judged by what systems and the model saw, what the bus stored, and the ledger's own rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bus.contract import Partition
from ledger.connection import Connection
from ledger.contract import run_id
from tests.engine.simulation.journal import Effect, Request, Work
from tests.engine.simulation.model import COST
from tests.engine.simulation.plans import ACTIONS, CONNECTIONS
from tests.engine.simulation.systems import CLASSES

if TYPE_CHECKING:
    from tests.engine.simulation.world import World

_SAFE = """SELECT 1 FROM runs r LEFT JOIN bodies b ON b.run = r.run
           WHERE r.run = ? AND (r.state = 'final' OR b.run IS NOT NULL)"""
_ENDED = "SELECT count(*) AS n FROM runs WHERE state IN ('final', 'aside')"


class Judge:
    """
    Looks on, and speaks at the end; an offset that is passed too early it calls out at once.
    """

    def __init__(self, world: World, audit: Callable[[Connection], None]) -> None:
        self._world = world
        self._audit = audit
        self._passed: dict[tuple[str, Partition], int] = defaultdict(int)
        self.found: list[tuple[str, tuple[str, ...]]] = []
        """What did not hold, with words by which the trace is searched."""
        self.counts: Counter[str] = Counter()
        """What is allowed, and reported."""

    # ---- I1, at every commit ----------------------------------------------------------------

    def committed(self, group: str, positions: Mapping[Partition, int]) -> None:
        """
        Look at every offset that a commit passes.
        """
        for partition, position in positions.items():
            self._pass(group, partition, position)

    def kept(self, row: Mapping[str, Any]) -> None:
        """
        Look at every offset that a position kept in the ledger passes.
        """
        self._pass(row["pipeline"], Partition(row["topic"], row["part"]), row["next_off"])

    def _pass(self, pipeline: str, partition: Partition, position: int) -> None:
        log = self._world.cluster.logs.get(partition, [])
        for offset in range(self._passed[pipeline, partition], position):
            event = self._world.source.events.get((partition, offset), "")
            run = self._run(pipeline, event) if event else _unreadable(pipeline, partition, offset)
            if offset >= len(log) or not self._world.database.rows(_SAFE, bytes.fromhex(run)):
                self._say(f"I1: {pipeline} passed {partition} {offset} ({event}), which nobody would run", event)
        self._passed[pipeline, partition] = max(position, self._passed[pipeline, partition])

    # ---- the end ----------------------------------------------------------------------------

    def settled(self) -> bool:
        """
        Return whether every event has an end, and every position is at the end of its log.
        """
        world = self._world
        expected = len(self._works()) + sum(1 for _ in self._unreadable())
        if world.database.rows(_ENDED)[0]["n"] < expected or not all(one.idle for one in world.running):
            return False
        return all(
            position == world.cluster.end(partition)
            for group in world.cluster.groups.values()
            for partition, position in group.positions.items()
        )

    def at_the_end(self) -> None:
        """
        Judge the whole; raises `AssertionError` with everything that does not hold, and the trace of it.
        """
        self._verdicts()
        self._effects()
        self._order()
        self._at_once()
        self._asked()
        self._money()
        self._positions()
        try:
            self._audit(self._world.database.connection)
        except AssertionError as error:
            self._say(f"auditor: {error}")
        if self.found:
            words = {word for _, about in self.found for word in about if word}
            said = "\n".join(what for what, _ in self.found[:20])
            raise AssertionError(f"seed {self._world.seed}:\n{said}\n\n{self._world.trace.about(*words)}")

    def _verdicts(self) -> None:
        rows = self._world.database.rows("SELECT pipeline, event_id, state, verdict, reason, error FROM runs")
        ends = {(row["pipeline"], row["event_id"]): row for row in rows}
        for pipeline, event in self._works():
            row = ends.get((pipeline, event))
            if row is None:
                self._say(f"lost: {pipeline} never heard of {event}", event)
                continue
            end = row["verdict"] or row["reason"]
            self.counts[str(end)] += 1
            if row["state"] not in ("final", "aside"):
                self._say(f"stuck: {pipeline} {event} is {row['state']} ({row['reason']}, {row['error']})", event)
            elif end not in self._world.source.verdict(pipeline, event):
                self._say(f"verdict: {pipeline} {event} ended {end}: {row['error']}", event)
        for pipeline, partition, offset in self._unreadable():
            if ends.get((pipeline, _place(partition, offset)), {"verdict": None})["verdict"] != "dead":
                self._say(f"lost: {pipeline} has no dead letter for {partition} {offset}")

    def _effects(self) -> None:
        by_work: dict[Work, list[Effect]] = defaultdict(list)
        for effect in self._world.journal.effects:
            by_work[effect.work].append(effect)
        for pipeline, event in self._works():
            effects = by_work[pipeline, event]
            wanted = "delivered" in self._world.source.verdict(pipeline, event)
            again = [effect for effect in effects[1:] if not effect.asleep and not effects[0].asleep]
            self.counts["written by a zombie"] += len(effects[1:]) - len(again)
            if again or (effects and not wanted):
                self._say(f"effects: {pipeline} wrote {event} {len(effects)} times", event)
            if wanted and not effects and CLASSES[ACTIONS[pipeline]] != "blind":
                self._say(f"lost: {pipeline} never wrote {event}", event)

    def _order(self) -> None:
        order, lanes = self._world.source.order, defaultdict(list)
        # What a process sent that slept after its last look at the fence may come at any time.
        awake = [effect for effect in self._world.journal.effects if not effect.asleep]
        first = {effect.work: effect for effect in reversed(awake)}
        for effect in sorted(first.values(), key=lambda one: one.at):
            lanes[effect.work[0], effect.record].append(effect.work)
        for (pipeline, record), works in lanes.items():
            for one, two in pairwise(works):
                where = CONNECTIONS[pipeline]
                if order[where, one[1]] > order[where, two[1]]:
                    self._say(f"order: {pipeline} {record} wrote {one[1]} before {two[1]}", one[1], two[1])

    def _at_once(self) -> None:
        lanes: dict[tuple[str, str], list[Request]] = defaultdict(list)
        for request in self._world.journal.requests:
            lanes[request.lane].append(request)
        for requests in lanes.values():
            for one, two in pairwise(sorted(requests, key=lambda request: request.at)):
                if one.work != two.work and two.at < one.ended_at:
                    if one.answered_at is None or one.asleep or two.asleep or self._blown(one, two.at):
                        self.counts["overlapped by a request nobody waited for"] += 1
                    else:
                        self._say(f"at once: {one.lane} worked on {one.work[1]} and {two.work[1]}", one.work[1])

    def _asked(self) -> None:
        asks: dict[Work, list[Request]] = defaultdict(list)
        for request in self._world.journal.requests:
            if request.cost:
                asks[request.work].append(request)
        for work, requests in asks.items():
            self.counts["model calls"] += len(requests)
            for one, two in pairwise(requests):
                if one.answered_at is None or self._blown(one, two.at):
                    self.counts["model calls in flight, repeated"] += 1
                else:
                    self._say(f"paid twice: {work} was answered and asked again", work[1])

    def _money(self) -> None:
        calls: dict[str, list[Any]] = defaultdict(list)
        for row in self._world.database.rows("SELECT run, outcome, cost, late FROM calls"):
            calls[row["run"].hex()].append(row)
        metered = Counter(self._run(*request.work) for request in self._world.journal.requests if request.cost)
        for run in calls.keys() | metered.keys():
            exact = sum(1 for row in calls[run] if row["outcome"] == "ok")
            unsure = sum(1 for row in calls[run] if row["outcome"] != "ok" and row["cost"] > 0)
            if any(row["cost"] != COST for row in calls[run] if row["outcome"] == "ok"):
                self._say(f"money: run {run} booked another price than was metered")
            if not exact <= metered[run] <= exact + unsure:
                self._say(f"money: run {run} metered {metered[run]}, booked {exact} and perhaps {unsure}")
        spent = sum(row["cost"] for rows in calls.values() for row in rows)
        budgets = self._world.database.rows(
            "SELECT coalesce(sum(spent), 0) s, coalesce(sum(reserved), 0) r FROM budgets"
        )
        if (budgets[0]["s"], budgets[0]["r"]) != (spent, 0):
            self._say(f"money: spent {budgets[0]['s']} of {spent}, held {budgets[0]['r']}")

    def _positions(self) -> None:
        for group in self._world.cluster.groups.values():
            for partition, position in group.positions.items():
                if position != self._world.cluster.end(partition):
                    self._say(f"positions: {group.name} ended {partition} at {position}")

    # ---- words ------------------------------------------------------------------------------

    def _blown(self, request: Request, until: float) -> bool:
        """
        Return whether the process of *request* was hit before *until*, so that it may not have kept the answer.
        """
        return any(request.at - 1.0 <= blow <= until for blow in request.process.blows)

    def _works(self) -> list[Work]:
        order = self._world.source.order
        return [(name, event) for where, event in order for name, place in CONNECTIONS.items() if place == where]

    def _unreadable(self) -> Iterator[tuple[str, Partition, int]]:
        for (partition, offset), event in self._world.source.events.items():
            if not event:
                for name, place in CONNECTIONS.items():
                    if partition.topic == f"t.{place}":
                        yield name, partition, offset

    def _run(self, pipeline: str, event: str) -> str:
        return run_id("", pipeline, f"https://{CONNECTIONS[pipeline]}.example", event)

    def _say(self, what: str, *about: str) -> None:
        self.found.append((what, about))
        self._world.trace("WRONG", what)


def _place(partition: Partition, offset: int) -> str:
    return f"bus:{partition.topic}/{partition.number}/{offset}"


def _unreadable(pipeline: str, partition: Partition, offset: int) -> str:
    return run_id("", pipeline, "penstock:bus", _place(partition, offset))
