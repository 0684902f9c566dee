"""
`docs/howto/scale-out.md`, step by step, on a real Kafka and a real PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ai.double import ModelDouble
from connectors.double import serving
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.testing import HubProcess, overlay
from penstock import HOUSE

KEY = "sk-test-0123456789abcdef"
SECRETS = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": "hook", "ZENDESK_HOOK_OLD": "older", "OPENAI_API_KEY": KEY}
WITHIN = 120.0  # seconds; a machine may be busy
MEMBER_FOR = 60.0  # seconds; a stopped worker with a name counts as a member for 15
BOTH = ("one", "two")


def there(pid: int) -> bool:
    """
    Whether there is such a process.
    """
    return Path(f"/proc/{pid}").exists()


@dataclass
class Site:
    """
    Two workers of one hub, and the systems around them.
    """

    folder: Path
    desk: ZendeskDouble
    workers: dict[str, HubProcess]
    secrets: dict[str, str]
    opened: int = 0

    async def command(self, *words: str) -> tuple[int | None, str]:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **self.secrets, "PENSTOCK_MEMBER": "one"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "penstock", *words),
            cwd=self.folder,
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode, said.decode()

    async def tickets(self, worker: str, count: int) -> None:
        """
        Open *count* tickets, delivered to *worker*; return when each has its note.
        """
        self.desk.hooks._targets.clear()
        self.desk.hooks.subscribe(f"{self.workers[worker].url}/in/helpdesk", "hook")
        for number in range(count):
            self.desk.opened(subject=f"Order {number}?", description="Where is it?")
        self.opened += count
        async with asyncio.timeout(WITHIN):
            while sum(map(bool, self.notes())) < self.opened:
                await asyncio.sleep(0.1)

    def notes(self) -> list[int]:
        """
        Return how many notes of ours each ticket has.
        """
        return [sum(not note["public"] for note in notes) for notes in self.desk.notes.values()]

    def write(self, path: str, value: int) -> None:
        """
        Write another value into the declaration.
        """
        yaml, file = YAML(), self.folder / "pipelines.yaml"
        declared = part = yaml.load(file.read_text("utf-8"))
        *parents, last = path.split(".")
        for parent in parents:
            part = part[parent]
        part[last] = value
        with file.open("w", encoding="utf-8") as target:
            yaml.dump(declared, target)

    async def all(self, *, up: bool) -> None:
        for worker in self.workers.values():
            if up:
                await worker.start()
            else:
                assert 0 == await worker.stop()


@pytest.fixture
async def site(
    tmp_path: Path, kafka: str, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Site, ModelDouble]]:
    monkeypatch.setattr("console.testing.START_WITHIN", WITHIN * 2)
    desk = ZendeskDouble(email=AGENT_EMAIL)
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(ModelDouble(keys={"main": KEY}))
        url = await stack.enter_async_context(serving(desk))
        changes = {
            "hub.bus": {
                "kafka": "${env:KAFKA}",
                "prefix": f"t{uuid.uuid4().hex[:12]}",
                "partitions": 4,
                "member": "${env:PENSTOCK_MEMBER}",
            },
            "hub.ledger": "${env:PENSTOCK_LEDGER}",
            "connections.helpdesk.url": url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
        }
        folder = overlay(HOUSE, tmp_path / "hub", changes, pipelines=["ticket-summary"])
        secrets = SECRETS | {"KAFKA": kafka, "PENSTOCK_LEDGER": dsn}
        workers = {name: HubProcess(folder, env=secrets | {"PENSTOCK_MEMBER": name}) for name in BOTH}
        yield Site(folder, desk, workers, secrets), model
        for worker in workers.values():
            worker.kill_at_once()


@pytest.mark.timeout(900)  # a worker starts within seconds, on a busy machine within many
async def test_two_workers_share_the_work_and_are_restarted_one_by_one(site: tuple[Site, ModelDouble]) -> None:
    """Either takes any delivery, also while the other is down; each ticket is asked about once and has one note."""
    here, model = site
    await here.all(up=True)
    await here.tickets("one", 8)
    for name, other in (BOTH, BOTH[::-1]):
        assert 0 == await here.workers[name].stop()
        await here.tickets(other, 2)
        await here.workers[name].start()
    await here.desk.hooks.settled()
    _, said = await here.command("doctor")
    await here.all(up=False)

    assert [1] * here.opened == here.notes()
    assert here.opened == len(model.calls)
    assert "lets us in" in said
    assert re.search(r"pipeline ticket-summary +\d+ messages of t\w+\.events\.helpdesk to read", said), said


@pytest.mark.timeout(900)
async def test_a_worker_in_two_processes_survives_either(site: tuple[Site, ModelDouble]) -> None:
    """Two processes of one worker share the partitions; whichever is killed comes back, and each ticket has one note."""
    here, model = site
    here.write("hub.processes", 2)
    worker = here.workers["one"]
    await worker.start()
    await here.tickets("one", 12)
    for _ in BOTH:
        os.kill(worker.kept()[-1], signal.SIGKILL)
        await here.tickets("one", 4)
    os.kill(worker.kept()[0], signal.SIGKILL)
    await here.tickets("one", 4)
    await here.desk.hooks.settled()
    left = worker.kept()
    assert 0 == await worker.stop()

    assert 2 == len(left)
    assert not any(map(there, left))
    assert [1] * here.opened == here.notes()
    assert here.opened == len(model.calls)
    assert "started again" in worker.log()


@pytest.mark.timeout(900)
async def test_partitions_are_added_as_the_recipe_says(site: tuple[Site, ModelDouble]) -> None:
    """Another number is refused, with the commands; they do it; afterwards everything goes on, once."""
    here, model = site
    await here.workers["one"].start()
    await here.tickets("one", 4)
    await here.desk.hooks.settled()
    assert 0 == await here.workers["one"].stop()

    here.write("hub.bus.partitions", 6)
    code, said = await here.command("run")
    assert (3, True) == (code, "`penstock run --once`, then `penstock bus repartition`" in said), said
    code, said = await here.command("run", "--once")
    assert code in (0, 6), said
    until = time.monotonic() + MEMBER_FOR
    while (code := (told := await here.command("bus", "repartition"))[0]) and time.monotonic() < until:
        assert "members" in told[1], told[1]
        await asyncio.sleep(1)
    assert (0, True) == (code, "events.helpdesk: 6 partitions" in told[1]), told[1]

    await here.workers["one"].start()
    await here.tickets("one", 4)
    await here.desk.hooks.settled()
    assert 0 == await here.workers["one"].stop()

    assert [1] * here.opened == here.notes()
    assert here.opened == len(model.calls)
