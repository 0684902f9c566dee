"""
The ledger against a model of it: random work by workers that die, with a clock that moves.

The model knows nothing of SQL: a lane is a list of runs in admission order, and its first is its head.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import dataclass, field
from typing import Any

import psycopg
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import ledger
from ledger import Busy, Claim, Known, NewRun
from ledger.connection import Connection
from ledger.testing import beside, bury
from penstock.clock import ManualClock
from penstock.errors import Fenced, Unavailable, UnknownOutcome

BODY = b"{}"
GATES = ("connection:desk", "model:small")
LANES = ("a", "b", "c")
CASES = int(os.environ.get("PENSTOCK_CASES", "60"))
ON_SERVER = max(1, CASES // 6)
STEPS = 60  # actions per case


@dataclass
class Modelled:
    """What the model knows of a run."""

    new: NewRun
    state: str = "running"
    body: bool = False
    holder: str = ""
    claim: Claim | None = None
    due_at: int | None = None
    gate: str | None = None
    attempts: int = 0
    step: str = "fresh"
    """What the next begin finds."""
    until: int | None = None
    """When its burst ends at the latest, while it settles."""
    count: int | None = None
    """How many events it stands for; None when it never settled."""


@dataclass
class Gate:
    """What the model knows of a gate that is not open."""

    probe_at: int
    probe: str | None = None
    sent_at: int = 0


@dataclass
class Model:
    """The whole ledger, in plain words."""

    runs: dict[str, Modelled] = field(default_factory=dict)
    lanes: dict[str, list[str]] = field(default_factory=lambda: {lane: [] for lane in LANES})
    gates: dict[str, Gate] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)

    def probes(self, now: int) -> dict[str, str]:
        """Which run would be whose probe."""
        for gate in self.gates.values():
            if gate.probe and gate.sent_at + 300_000 <= now:
                gate.probe = None
        found: dict[str, str] = {}
        for name, gate in self.gates.items():
            heads = [run for run in self.heads() if run.state == "waiting" and run.gate == name]
            if heads and gate.probe is None and gate.probe_at <= now:
                found[name] = min(heads, key=self.order).new.run
        return found

    def ready(self, now: int) -> set[str]:
        """Which heads could be picked up without being probes."""
        return {run.new.run for run in self.heads() if self.is_ready(run, now)}

    def is_ready(self, run: Modelled, now: int) -> bool:
        if run.state == "running":
            return run.holder in self.dead and run.body
        if run.gate is not None:
            return run.gate not in self.gates
        return run.due_at is None or run.due_at <= now

    def open_gates(self, ready: set[str]) -> dict[str, list[str]]:
        """Which of these runs wait at which gate, oldest first."""
        runs = sorted((self.runs[run] for run in ready), key=self.order)
        return {gate: [run.new.run for run in runs if run.gate == gate] for gate in GATES}

    def heads(self) -> list[Modelled]:
        return [self.runs[lane[0]] for lane in self.lanes.values() if lane]

    def order(self, run: Modelled) -> int:
        return list(self.runs).index(run.new.run)

    def leave(self, run: Modelled) -> None:
        """The run holds its lane no longer."""
        self.lanes[run.new.lane].remove(run.new.run)

    def returned(self, run: Modelled, again_at: int) -> None:
        """A run stopped running: if it was a probe, its gate is shut."""
        for gate in self.gates.values():
            if gate.probe == run.new.run:
                gate.probe = None
                gate.probe_at = max(gate.probe_at, again_at)


class LedgerMachine(RuleBasedStateMachine):
    """Workers, a bus and a clock, at random."""

    events = Bundle("events")

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.first = self.do(ledger.open(self.place(), clock=self.clock))
        self.worker = self.first
        self.model = Model()
        self.number = 0

    def place(self) -> str | None:
        return None

    def teardown(self) -> None:
        self.do(self.first.close())
        self.loop.close()

    def do(self, what: Any) -> Any:
        return self.loop.run_until_complete(what)

    # ---- events -----------------------------------------------------------------------------

    @rule(target=events, lane=st.sampled_from(LANES), kept=st.booleans())
    def deliver(self, lane: str, *, kept: bool) -> NewRun:
        new = self.new(lane)
        self.offer(new, adopt=True)
        if kept and new.run in self.model.runs and self.model.runs[new.run].state == "running":
            self.do(self.worker.admit(new, BODY, reason="behind"))
            self.model.runs[new.run].body = True
        return new

    def new(self, lane: str) -> NewRun:
        self.number += 1
        return NewRun(
            pipeline="p",
            lane=lane,
            source="s",
            event_id=str(self.number),
            subject="7",
            body_hash=str(self.number),
            config_hash="c",
            topic="t",
            partition=0,
            offset=self.number,
            bus_time=1,
        )

    @rule(target=events, lane=st.sampled_from(LANES), quiet=st.integers(1, 60))
    def join(self, lane: str, quiet: int) -> NewRun:
        new, now = self.new(lane), self.clock.now_ms()
        self.do(self.worker.settle(new, BODY, quiet=quiet, most=10 * quiet))
        older = [run for run in map(self.model.runs.__getitem__, self.model.lanes[lane]) if run.until is not None]
        for run in older:
            run.state, run.due_at = "final", None
            self.model.leave(run)
        joined = self.remember(new, state="waiting")
        joined.body, joined.count = True, 1 + sum(run.count or 0 for run in older)
        joined.until = min([now + 10_000 * quiet, *(run.until or 0 for run in older)])
        joined.due_at = min(now + 1000 * quiet, joined.until)
        for run in older:
            run.until = None
        return new

    @rule(new=events)
    def rejoin(self, new: NewRun) -> None:
        if (known := self.model.runs.get(new.run)) is not None:
            self.do(self.worker.settle(new, BODY, quiet=1, most=10))
            known.body = True

    @rule(new=events, adopt=st.booleans())
    def redeliver(self, new: NewRun, *, adopt: bool) -> None:
        self.offer(new, adopt=adopt)

    def offer(self, new: NewRun, *, adopt: bool) -> None:
        claimed = self.do(self.worker.claim(new))
        known = self.model.runs.get(new.run)
        lane = self.model.lanes[new.lane]
        if known is None:
            assert (claimed == Busy()) == bool(lane)
        elif known.state == "running":
            assert (claimed == Busy()) == (known.holder not in self.model.dead)
        else:
            assert isinstance(claimed, Known)
            assert (claimed.state, claimed.body_hash) == (known.state, new.body_hash)
        if isinstance(claimed, Claim):
            self.started(known or self.remember(new), claimed)
        elif claimed == Busy() and adopt:
            self.do(self.worker.admit(new, BODY, reason="behind"))
            (known or self.remember(new, state="waiting")).body = True

    def remember(self, new: NewRun, state: str = "running") -> Modelled:
        run = self.model.runs[new.run] = Modelled(new, state)
        self.model.lanes[new.lane].append(new.run)
        return run

    def started(self, run: Modelled, claim: Claim) -> None:
        assert self.model.lanes[run.new.lane][0] == run.new.run
        assert run.claim is None or claim.fence > run.claim.fence
        assert claim.attempts == run.attempts
        if run.step == "open":
            run.step = "unknown"
        run.state, run.holder, run.claim = "running", self.worker.worker, claim
        assert (claim.burst and claim.burst.count) == run.count
        run.due_at = run.gate = run.until = None

    @rule(most=st.integers(0, 4))
    def pick_up(self, most: int) -> None:
        now = self.clock.now_ms()
        probes, ready = self.model.probes(now), self.model.ready(now)
        gates = self.model.open_gates(ready)
        due = self.do(self.worker.next_due(["p"]))
        assert (due is not None and due <= now) == bool(probes or ready)
        picked = self.do(self.worker.pick_up(["p"], most))
        assert len(picked) == min(most, len(probes) + len(ready))
        for one in picked:
            run = self.model.runs[one.claim.run]
            assert one.body == BODY
            if one.probe:
                assert probes[one.gate] == one.claim.run
                self.model.gates[one.gate].probe = one.claim.run
                self.model.gates[one.gate].sent_at = now
            else:
                assert one.claim.run in ready
            self.started(run, one.claim)
        self.oldest_first(gates, {one.claim.run for one in picked})

    def oldest_first(self, gates: dict[str, list[str]], picked: set[str]) -> None:
        """Nobody overtakes at an open gate."""
        for runs in gates.values():
            passed = [run in picked for run in runs]
            assert passed == sorted(passed, reverse=True)

    # ---- work -------------------------------------------------------------------------------

    def running(self) -> list[Modelled]:
        return [run for run in self.model.runs.values() if run.state == "running"]

    def some_run(self, data: Any) -> tuple[Modelled, bool]:
        """A run that runs, and whether its worker has been told that it is dead (it may act all the same)."""
        run = data.draw(st.sampled_from(self.running()))
        return run, run.holder in self.model.dead

    @precondition(lambda self: self.running())
    @rule(data=st.data(), verdict=st.sampled_from(["delivered", "dead"]), kept=st.booleans())
    def finish(self, data: Any, verdict: Any, *, kept: bool) -> None:
        run, _ = self.some_run(data)
        self.do(self.worker.finish(run.claim, verdict, body=BODY if kept else None))
        run.state = "final"
        self.model.leave(run)
        self.model.returned(run, self.clock.now_ms())

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def put_aside(self, data: Any) -> None:
        run, _ = self.some_run(data)
        self.do(self.worker.aside(run.claim, "parked", BODY, why="x"))
        run.state, run.body = "aside", True
        self.model.leave(run)
        self.model.returned(run, self.clock.now_ms())

    @precondition(lambda self: self.running())
    @rule(
        data=st.data(),
        delay=st.none() | st.integers(0, 90),
        gate=st.none() | st.sampled_from(GATES),
        counts=st.booleans(),
    )
    def wait(self, data: Any, delay: int | None, gate: str | None, *, counts: bool) -> None:
        run, _ = self.some_run(data)
        now = self.clock.now_ms()
        due_at = None if delay is None else now + delay * 1000
        self.do(self.worker.wait(run.claim, "retry", BODY, why="x", due_at=due_at, gate=gate, attempt=counts))
        run.state, run.body, run.due_at, run.gate = "waiting", True, due_at, gate
        run.attempts += counts
        self.model.returned(run, now + 5_000)

    @precondition(lambda self: self.running())
    @rule(data=st.data(), ending=st.sampled_from(["done", "failed", "unknown"]))
    def step(self, data: Any, ending: str) -> None:
        run, _ = self.some_run(data)
        self.do(self.one_step(run, ending))
        if run.step != "done":
            run.step = "unknown" if ending == "failed" and run.step == "unknown" else ending

    async def one_step(self, run: Modelled, ending: str) -> None:
        errors = {"failed": Unavailable("x"), "unknown": UnknownOutcome("x")}
        how: Any = {"kind": "write", "action_class": "keyed", "timeout": 1.0}
        try:
            async with self.worker.step(run.claim, "note", **how) as step:
                assert step.found == ("fresh" if run.step == "failed" else run.step)
                if step.found == "done":
                    assert step.result == run.new.run
                elif ending in errors:
                    raise errors[ending]
                else:
                    await step.done(run.new.run)
        except (Unavailable, UnknownOutcome):
            pass

    # ---- accidents --------------------------------------------------------------------------

    @rule()
    def die(self) -> None:
        self.model.dead.add(self.worker.worker)
        self.do(bury(self.worker))
        self.worker = self.do(beside(self.first))

    @precondition(lambda self: any(run.claim and run.state == "waiting" for run in self.model.runs.values()))
    @rule(data=st.data())
    def act_on_a_void_claim(self, data: Any) -> None:
        void = [run for run in self.model.runs.values() if run.claim and run.state == "waiting"]
        run = data.draw(st.sampled_from(void))
        try:
            self.do(self.worker.finish(run.claim, "delivered"))
        except Fenced:
            return
        raise AssertionError("a claim that was given up finished its run")

    @rule(seconds=st.integers(1, 400))
    def sleep(self, seconds: int) -> None:
        self.do(self.clock.advance(seconds))

    @rule(gate=st.sampled_from(GATES), delay=st.integers(0, 120))
    def shut(self, gate: str, delay: int) -> None:
        probe_at = self.clock.now_ms() + delay * 1000
        self.do(self.worker.shut(gate, "503", probe_at=probe_at))
        self.model.gates[gate] = Gate(probe_at)

    @rule(gate=st.sampled_from(GATES))
    def reopen(self, gate: str) -> None:
        self.do(self.worker.reopen(gate))
        self.model.gates.pop(gate, None)

    # ---- always -----------------------------------------------------------------------------

    @invariant()
    def states_are_the_same(self) -> None:
        if not hasattr(self, "first"):
            return
        rows = self.do(self.first.store.read(_runs))
        assert rows == {run: (known.state, known.attempts) for run, known in self.model.runs.items()}
        lanes = self.do(self.first.store.read(_lanes))
        assert lanes == {lane: runs[0] for lane, runs in self.model.lanes.items() if runs}


def _runs(connection: Connection) -> dict[str, tuple[str, int]]:
    rows = connection.execute("SELECT run, state, attempts FROM runs")
    return {row["run"].hex(): (row["state"], row["attempts"]) for row in rows}


def _lanes(connection: Connection) -> dict[str, str]:
    return {row["lane"]: row["head"].hex() for row in connection.execute("SELECT lane, head FROM lanes")}


LedgerMachine.TestCase.settings = settings(max_examples=CASES, stateful_step_count=STEPS, deadline=None)
TestLedgerMachine = LedgerMachine.TestCase


def test_the_same_holds_on_postgres(dsn: str) -> None:
    """A server with one worker and its shadow does what the model says."""

    with psycopg.connect(dsn, autocommit=True) as admin:

        class OnServer(LedgerMachine):
            def place(self) -> str:
                self.schema = f"m_{secrets.token_hex(6)}"
                admin.execute(f"CREATE SCHEMA {self.schema}")
                return dsn.partition("options=")[0] + f"options=-csearch_path%3D{self.schema}"

            def teardown(self) -> None:
                super().teardown()
                admin.execute(f"DROP SCHEMA {self.schema} CASCADE")

        run_state_machine_as_test(OnServer, settings=settings(max_examples=ON_SERVER, stateful_step_count=STEPS))
