"""
The judge itself: it sees what is wrong in logs that were written by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.crash.judge import GRACE, Judgement, Told, judge

ITEM = "item-01"
SECTIONS = {"keyed": "keyed", "read-back": "readback", "blind": "blind", "burst": "burst"}

NOTHING = Told()


class Logs:
    """
    The logs of a run of two events in one lane, all well, to be spoiled by a test.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.source: list[dict[str, Any]] = [{"item": ITEM, "seq": seq} for seq in (1, 2)]
        self.desk: list[dict[str, Any]] = []
        self.model: list[dict[str, Any]] = []
        self.faults: list[dict[str, Any]] = []
        for seq in (1, 2):
            for pipeline in SECTIONS:
                self.ask(pipeline, seq, at=float(seq))
            for action in ("register", "put", "note", "ring", "mark"):
                self.do(action, seq)

    def do(self, action: str, seq: int, *, at: float = 50.0, worker: str = "w0.1", effect: bool = True) -> None:
        """
        Let an action take effect.
        """
        line = {"action": action, "item": ITEM, "seq": seq, "at": at * 1000}
        self.desk.append({**line, "worker": worker, "effect": effect})

    def ask(
        self, pipeline: str, seq: int, *, at: float, worker: str = "w0.1", whole: bool = True, takes: float = 0.1
    ) -> None:
        """
        Ask the model, which *takes* so many seconds; *whole* when its answer left it.
        """
        name = f"call-{len(self.model)}"
        begins = f"<{SECTIONS[pipeline]} 123456789012>\nitem: {ITEM}\nseq: {seq}\ntext: x"
        self.model.append({"id": name, "key": worker, "begins": begins, "at": at + takes, "outcome": "ok"})
        self.model.append({"came": name, "at": at})
        if whole:
            self.model.append({"sent": name, "at": at + takes})

    def fault(self, kind: str, *, worker: str | None = "w0.1", since: float, until: float = 1e12, **more: Any) -> None:
        """
        Let a fault hit a worker, or all of them.
        """
        self.faults.append({"kind": kind, "worker": worker, "since": since, "until": until, **more})

    def judged(self, *parked: tuple[str, int], told: Told = NOTHING) -> Judgement:
        """
        Write the logs, and let them be judged.
        """
        for name in ("source", "desk", "model", "faults"):
            (self._folder / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(x) + b"\n" for x in getattr(self, name)))
        return judge(self._folder, parked=parked, told=told)


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def _wrong(judged: Judgement) -> dict[str, int]:
    return {name: len(them) for name, them in judged.faults.items() if them}


def test_a_run_without_fault_is_fine(logs: Logs) -> None:
    """
    Each action once and in order, each question once: nothing is wrong.
    """
    judged = logs.judged()

    assert {} == _wrong(judged)
    assert (2, 0) == (judged.events, judged.in_flight_again)


def test_an_action_that_never_took_effect_is_lost(logs: Logs) -> None:
    """
    A request that the desk refused is no effect.
    """
    logs.desk[2]["effect"] = False

    assert (("note", ITEM, 1),) == logs.judged().lost


def test_a_blind_action_is_lost_unless_a_person_was_asked(logs: Logs) -> None:
    """
    A parked ring is not lost; one that is neither done nor parked is.
    """
    logs.desk = [line for line in logs.desk if line["action"] != "ring"]

    assert (("ring", ITEM, 2),) == logs.judged((ITEM, 1)).lost


def test_a_later_mark_stands_for_those_before(logs: Logs) -> None:
    """
    A burst is marked once, for its newest event; without that mark both are lost.
    """
    logs.desk = [line for line in logs.desk if (line["action"], line["seq"]) != ("mark", 1)]
    settled = logs.judged().lost
    logs.desk = [line for line in logs.desk if line["action"] != "mark"]

    assert ((), 2) == (settled, len(logs.judged().lost))


@pytest.mark.parametrize(
    ("action", "wrong"),
    [
        ("register", {"keyed duplicates": 1}),
        ("put", {"keyed duplicates": 1}),
        ("mark", {"keyed duplicates": 1}),
        ("ring", {"blind duplicates": 1}),
        ("note", {}),  # reported, not forbidden
    ],
)
def test_a_second_effect_is_a_duplicate_of_its_class(logs: Logs, action: str, wrong: dict[str, int]) -> None:
    """
    Only effects count: a repeated request that the desk recognised is none.
    """
    logs.do(action, 2)
    logs.do(action, 1, effect=False)
    judged = logs.judged()

    assert wrong == _wrong(judged)
    assert 1 == sum(len(them) for them in judged.duplicated.values())


def test_an_earlier_change_after_a_later_one_breaks_the_order(logs: Logs) -> None:
    """
    The first effect of number 1 comes after that of number 2.
    """
    moved = logs.desk.pop(0)
    logs.desk.append(moved)

    assert (("register", ITEM, 1),) == logs.judged().disordered


def test_a_second_question_to_a_worker_that_lived_on_was_finished(logs: Logs) -> None:
    """
    Nobody died, or only later than an answer needs to be kept, or somebody else.
    """
    logs.ask("keyed", 1, at=60.0, worker="w1.1")
    logs.fault("kill", since=1.1 + GRACE + 0.1)
    logs.fault("kill", worker="w2.1", since=1.05)

    assert {"finished model calls repeated": 1} == _wrong(logs.judged())


def test_a_second_question_after_the_answer_was_acted_upon_was_finished(logs: Logs) -> None:
    """
    However soon its worker died: what is delivered was kept.
    """
    logs.do("note", 1, at=1.2, effect=False)
    logs.ask("read-back", 1, at=5.0, worker="w1.1")
    logs.fault("kill", since=1.3)

    assert {"finished model calls repeated": 1} == _wrong(logs.judged())


def test_a_second_question_after_a_later_answer_was_acted_upon_was_finished(logs: Logs) -> None:
    """
    A worker that delivered what came later had kept what came before.
    """
    logs.do("note", 2, at=2.2, effect=False)
    logs.ask("keyed", 1, at=5.0, worker="w1.1")
    logs.fault("kill", since=2.3)

    assert {"finished model calls repeated": 1} == _wrong(logs.judged())


def test_an_answer_that_the_ledger_keeps_was_finished(logs: Logs) -> None:
    """
    However soon its worker died.
    """
    logs.ask("keyed", 1, at=5.0, worker="w1.1")
    logs.fault("kill", since=1.15)
    judged = logs.judged(told=Told(kept={"call-0": 1.12}))

    assert {"finished model calls repeated": 1} == _wrong(judged)
    assert judged.slowest == pytest.approx(0.02)


def test_a_lane_taken_from_a_worker_without_a_turn_was_in_flight(logs: Logs) -> None:
    """
    Another worker asks, and the ledger says that the first was called dead; without that, or by itself, it may not.
    """
    logs.ask("keyed", 1, at=5.0, worker="w1.1")
    logs.ask("read-back", 1, at=5.0, worker="w1.1")
    logs.ask("blind", 1, at=5.0)
    judged = logs.judged(told=Told(taken=frozenset({("keyed", ITEM, 1), ("blind", ITEM, 1)})))

    assert {("read-back", ITEM, 1), ("blind", ITEM, 1)} == set(judged.finished_again)
    assert 1 == judged.in_flight_again


def test_the_first_question_is_the_one_that_came_first(logs: Logs) -> None:
    """
    A slow answer to somebody who went away is not asked for again by the one who had the quick answer meanwhile.
    """
    logs.ask("keyed", 3, at=9.0, whole=False, takes=3.0)
    logs.ask("keyed", 3, at=9.5, worker="w1.1")
    judged = logs.judged()

    assert {} == _wrong(judged)
    assert 1 == judged.in_flight_again


@pytest.mark.parametrize("kind", ["kill", "point", "zombie"])
def test_a_second_question_after_a_death_was_in_flight(logs: Logs, kind: str) -> None:
    """
    Its worker was gone before the answer could be kept.
    """
    logs.ask("keyed", 1, at=5.0, worker="w1.1")
    logs.fault(kind, since=1.05)
    judged = logs.judged()

    assert ({}, 1) == (_wrong(judged), judged.in_flight_again)


def test_an_answer_that_never_left_whole_was_in_flight(logs: Logs) -> None:
    """
    The connection was gone before its end.
    """
    logs.ask("blind", 9, at=4.0, whole=False)
    logs.ask("blind", 9, at=5.0)

    assert 1 == logs.judged().in_flight_again


@pytest.mark.parametrize(("died", "in_flight"), [(8.0 + GRACE - 1, 1), (8.0 + GRACE + 1, 0)])
def test_an_outage_of_the_ledger_lengthens_the_time_to_keep_an_answer(logs: Logs, died: float, in_flight: int) -> None:
    """
    A death while the ledger is away excuses; one after it is back, and an outage alone, do not.
    """
    logs.desk = []
    logs.ask("keyed", 1, at=90.0, worker="w1.1")
    logs.fault("ledger-away", worker=None, since=1.0, until=8.0, ledger=True)
    logs.fault("kill", since=died)

    assert in_flight == logs.judged().in_flight_again


def test_a_clean_stop_excuses_nothing(logs: Logs) -> None:
    """
    What a cleanly stopped worker had done is done again: a question and a note.
    """
    logs.ask("read-back", 1, at=60.0, worker="w1.1")
    logs.do("note", 1, worker="w1.1")
    logs.fault("stop", since=1.05, until=1.05)

    assert {"finished model calls repeated": 1, "repeated after a clean stop": 2} == _wrong(logs.judged())


def test_a_lane_that_was_lost_long_before_a_clean_stop_is_not_its_fault(logs: Logs) -> None:
    """
    The ledger says that the worker was called dead with the call under way.
    """
    logs.ask("read-back", 1, at=5.0, worker="w1.1")
    logs.fault("stop", since=60.0, until=60.0)

    assert {} == _wrong(logs.judged(told=Told(taken=frozenset({("read-back", ITEM, 1)}))))
