"""
One `penstock run` in several processes: they share the work, outlive each other, and end together.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ai.double import ModelDouble
from connectors.double import serving
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.shares import member, share
from console.testing import HubProcess, overlay
from ledger import RunQuery
from penstock import HOUSE
from penstock.secrets import Secrets
from pipelines.declaration import Declaration

TICKETS = 60
WITHIN = 120.0  # seconds: a machine may be slow
SOON = 15.0  # seconds
KEY = "sk-test-0123456789abcdef"
SECRETS = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": "hook", "ZENDESK_HOOK_OLD": "older", "OPENAI_API_KEY": KEY}


# ---- what each gets ------------------------------------------------------------------------


def declared(**hub: Any) -> Declaration:
    return Declaration.model_validate({"version": 1, "hub": hub})


@pytest.mark.parametrize(("whole", "of", "each"), [(256, 1, 256), (256, 2, 128), (1000, 3, 334), (1, 4, 1)])
def test_runs_at_once_are_divided(whole: int, of: int, each: int) -> None:
    """
    The processes together run what the hub may, or a little more: what cannot be divided is rounded up.
    """
    shares = [share(declared(in_flight=whole), number, of, Secrets()) for number in range(1, of + 1)]

    assert [each] * of == [one.hub.in_flight for one in shares]


def test_each_process_is_a_member_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The first has the name that is written; the name of the others stays over restarts too.
    """
    monkeypatch.setenv("HOST_NAME", "green")
    by_reference = declared(bus={"kafka": "k:9092", "member": "${env:HOST_NAME}"})
    names = [share(by_reference, number, 3, Secrets()).hub.bus for number in (1, 2, 3)]
    unnamed = share(declared(bus={"kafka": "k:9092"}), 2, 3, Secrets()).hub.bus

    assert ["green", "green-2", "green-3"] == [bus and bus.member for bus in names]
    assert (None, None) == (unnamed and unnamed.member, share(declared(), 2, 3, Secrets()).hub.bus)
    assert "a" == member("a", 1)


# ---- the real thing ------------------------------------------------------------------------


class Leading(HubProcess):
    """
    A hub that leads a process group, as one that was started from a terminal does.
    """

    async def _launch(self, env: Mapping[str, str]) -> asyncio.subprocess.Process:
        with self._log.open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "penstock", "run", "--listen", self._listen),
                cwd=self.folder,
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


class Site:
    """
    A hub in two processes, and the systems around it.
    """

    def __init__(self, hub: HubProcess, desk: ZendeskDouble) -> None:
        self.hub = hub
        self.desk = desk

    async def begin(self) -> None:
        await self.hub.start()
        self.desk.hooks.subscribe(f"{self.hub.url}/in/helpdesk", "hook")
        await self.until(lambda: "process 2 of 2 works" in self.hub.log())

    def tickets(self, count: int) -> None:
        for number in range(count):
            text = f"Order A-{10_000 + number} has not arrived. Please say where it is."
            self.desk.opened(subject=f"Where is order A-{10_000 + number}?", description=text)

    async def delivered(self, count: int) -> None:
        async with self.hub.ledger() as ledger, asyncio.timeout(WITHIN):
            while dict(await ledger.counts()).get(("ticket-summary", "delivered"), 0) < count:
                await asyncio.sleep(0.1)

    async def counted(self, name: str, *among: str) -> float:
        """
        Return the sum of a metric over its labels, of those alone that have *among* in them.
        """
        async with aiohttp.ClientSession() as client, client.get(f"{self.hub.url}/metrics") as answer:
            families = list(text_string_to_metric_families(await answer.text()))
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(each.value for each in found if set(among) <= set(each.labels.values()))

    def busy(self) -> Counter[int]:
        """
        Return how many model calls each process has logged.
        """
        lines = (json.loads(line) for line in self.hub.log().splitlines() if line.startswith("{"))
        return Counter(line["process"] for line in lines if line["logger"] == "penstock.ai")

    def notes(self) -> Counter[int]:
        """
        Return how many tickets have how many notes of ours.
        """
        return Counter(sum(not note["public"] for note in notes) for notes in self.desk.notes.values())

    async def until(self, told: Any, within: float = WITHIN) -> None:
        async with asyncio.timeout(within):
            while not told():
                await asyncio.sleep(0.05)


def threads_and_files(pid: int) -> tuple[int, list[str]]:
    there = Path(f"/proc/{pid}")
    return len(list((there / "task").iterdir())), [str(entry.readlink()) for entry in (there / "fd").iterdir()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    desk = ZendeskDouble(email=AGENT_EMAIL)
    async with ModelDouble(keys={"main": KEY}) as model, serving(desk) as url:
        changes = {
            "hub.processes": 2,
            "connections.helpdesk.url": url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
        }
        folder = overlay(HOUSE, tmp_path / "hub", changes, pipelines=["ticket-summary"])
        hub = Leading(folder, env=SECRETS)
        here = Site(hub, desk)
        yield here
        if hub.alive:
            left = hub.kept()
            await hub.kill()
            await here.until(lambda: not any(map(lives, left)))


async def test_both_processes_work_and_one_that_is_killed_is_replaced(site: Site) -> None:
    """
    Each ticket is answered once, also when one process and then the one that listens is killed.

    A delivery that comes while there is no listener waits for the next one.
    """
    await site.begin()
    for victim in reversed(site.hub.kept()):
        site.tickets(TICKETS)
        await site.desk.hooks.settled()
        os.kill(victim, signal.SIGKILL)
        site.tickets(1)
        await site.until(lambda victim=victim: len(site.hub.kept()) == 2 and victim not in site.hub.kept())
    await site.delivered(2 * TICKETS + 2)
    counted = await site.counted("penstock_runs_total", "delivered")
    code = await site.hub.stop()

    assert (0, {1: 2 * TICKETS + 2}) == (code, site.notes())
    assert {1, 2} == set(site.busy())
    assert TICKETS < counted <= 2 * TICKETS + 2  # who was killed may have kept an end and not counted it yet
    assert site.hub.log().count("was ended by signal 9; it is started again in 1 s") == 2


async def test_whoever_is_asked_shows_what_all_processes_counted(site: Site) -> None:
    """
    `/metrics` of the one that listens has the runs, the calls and the money of both; nothing stays on disk.
    """
    await site.begin()
    site.tickets(TICKETS)
    await site.desk.hooks.settled()
    await site.delivered(TICKETS)
    await site.until(lambda: sum(site.busy().values()) == TICKETS)
    counted = [await site.counted("penstock_runs_total", "delivered"), await site.counted("penstock_calls_total", "ok")]
    timed = [await site.counted(f"penstock_{name}_seconds_count") for name in ("run", "queue", "call")]
    money = await site.counted("penstock_cost_usd_total")
    async with site.hub.ledger() as ledger:
        cost = sum(run.cost for run in await ledger.runs(RunQuery(limit=1000)))
    await site.hub.stop()

    assert ([TICKETS] * 2, [TICKETS] * 3) == (counted, timed)
    assert money == pytest.approx(cost / 1_000_000)
    assert {1, 2} == set(site.busy())
    assert not (site.hub.folder / ".penstock" / "metrics").exists()


async def test_a_stop_ends_all_of_them(site: Site) -> None:
    """
    SIGTERM to the one that was started ends all with 0, and says so once; what was under way is finished.
    """
    await site.begin()
    workers = site.hub.kept()
    site.tickets(5)
    await site.desk.hooks.settled()

    assert 0 == await site.hub.stop()
    assert not any(map(lives, workers))
    assert site.hub.log().count("stopped; what was under way") == 1


async def test_ctrl_c_stops_them_as_one(site: Site) -> None:
    """
    A terminal sends SIGINT to all of them: each finishes what it has in hand, none is started again.
    """
    await site.begin()
    workers = site.hub.kept()
    os.killpg(site.hub.pid, signal.SIGINT)
    async with asyncio.timeout(WITHIN):
        code = await site.hub.died()

    assert 0 == code
    assert not any(map(lives, workers))
    assert "started again" not in site.hub.log()


async def test_without_their_keeper_they_stop(site: Site) -> None:
    """
    After `kill -9` of the process that was started, nothing of the hub goes on by itself.
    """
    await site.begin()
    workers = site.hub.kept()
    await site.hub.kill()

    await site.until(lambda: not any(map(lives, workers)), SOON)


async def test_one_that_is_asked_to_stop_alone_comes_back(site: Site) -> None:
    """
    SIGTERM for one process restarts that one.
    """
    await site.begin()
    first, second = site.hub.kept()
    os.kill(second, signal.SIGTERM)
    await site.until(lambda: second not in site.hub.kept() and len(site.hub.kept()) == 2)

    assert first in site.hub.kept()
    assert "process 2 ended with code 0; it is started again in 1 s" in site.hub.log()
    assert 0 == await site.hub.stop()


async def test_the_keeper_stays_simple(site: Site) -> None:
    """
    A process that forks has no threads, and nothing of the hub open but the lock of what they count.
    """
    await site.begin()
    threads, open_files = threads_and_files(site.hub.pid)

    assert 1 == threads
    assert ["lock"] == [Path(name).name for name in open_files if ".penstock" in name]


# ---- starts that fail ----------------------------------------------------------------------


async def failed(site: Site, *words: str) -> tuple[int | None, str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **SECRETS}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock", "run", "--listen", site.hub.url.removeprefix("http://"), *words),
        cwd=site.hub.folder,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(WITHIN):
        said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_what_cannot_be_opened_is_said_once(site: Site) -> None:
    """
    A ledger that is none ends the whole with its code, before the second process begins.
    """
    (site.hub.folder / ".penstock").mkdir()
    (site.hub.folder / ".penstock" / "ledger.db").write_bytes(b"not a ledger" * 1000)
    code, said = await failed(site)

    assert (4, 1) == (code, said.count("error: ")), said


async def test_a_port_that_is_taken_is_said_once(site: Site) -> None:
    """
    Two hubs cannot listen at the same place; the other one goes on.
    """
    await site.begin()
    code, said = await failed(site)

    assert (4, 1, 1) == (code, said.count("error: "), said.count("Cannot listen on")), said
    assert 2 == len(site.hub.kept())


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--once", "--processes", "2"), 3, "works off what is there in one process"),
        (("--processes", "65"), 2, "less than or equal to 64"),
        (("--processes", "0"), 2, "greater than or equal to 1"),
    ],
)
async def test_numbers_that_make_no_sense_are_refused(site: Site, words: Any, code: int, told: str) -> None:
    """
    One sentence, and nothing is started.
    """
    found, said = await failed(site, *words)

    assert (code, 1) == (found, said.count("error: ")), said
    assert told in said


async def test_working_off_is_done_by_one(site: Site) -> None:
    """
    `hub.processes` changes nothing about `--once`.
    """
    code, said = await failed(site, "--once")

    assert (0, "") == (code, said)


async def test_of_those_that_fail_together_one_says_why() -> None:
    """
    The whole ends with their code, and with it the process that was at work.
    """
    code, said = await kept("if seat.number == 1: seat.opened(); seat.up(); rest()\nprint(seat.may_complain()); end(7)")

    assert (7, 1) == (code, said.count("True")), said


async def test_the_pauses_grow() -> None:
    """
    What ends again and again is started more and more seldom.
    """
    code, said = await kept(
        "seat.opened(); seat.up()\nif seat.number == 1: rest()\nif seat.number == 2: end(3)\nrest()", 1.5
    )
    pauses = [line.rpartition(" in ")[2] for line in said.splitlines() if "process 2 ended with code 3" in line]

    assert 0 == code, said
    assert ["0.05 s", "0.1 s", "0.2 s", "0.2 s"] == pauses[:4], said


async def kept(work: str, seconds: float | None = None) -> tuple[int | None, str]:
    """
    Keep three processes that do *work*, for *seconds* or until they end by themselves.
    """
    script = f"""
import logging, signal, sys, time
from console.keeper import Keeper
logging.basicConfig(level="INFO")
seat = Keeper(3, pauses=(0.05, 0.2)).keep()
if isinstance(seat, int): sys.exit(seat)
rest, end = signal.pause, sys.exit
{work}
"""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE)}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env=env, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(WITHIN):
        if seconds is not None:
            await asyncio.sleep(seconds)
            process.send_signal(signal.SIGTERM)
        said, _ = await process.communicate()
    return process.returncode, said.decode()
