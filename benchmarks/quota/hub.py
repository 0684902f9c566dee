"""
A hub with a backlog, as `penstock run` has it: `python -m benchmarks.quota.hub FOLDER ACCOUNT …`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bus
from benchmarks.engine.workload import EVENT_TYPE, PARTITIONS, Workload
from bus import Outgoing
from console.testing import free_port, overlay
from penstock import HOUSE
from penstock.clock import SystemClock

PIPELINE = "ticket-summary"
TOPIC = "penstock.events.helpdesk"
DAY = 86_400.0  # seconds


def declare(folder: Path, *, model: str, desk: str, processes: int) -> None:
    """
    Write the folder of a hub that asks the model at *model*; its limits are not declared.
    """
    ticket = {"from": "event.data", "fields": ["subject", "description"], "tokens": "..400", "cut": "middle"}
    changes: dict[str, Any] = {
        "hub.listen": f"127.0.0.1:{free_port()}",
        "hub.processes": processes,
        "connections.helpdesk.url": desk,
        "models.small.url": f"{model}/v1",
        "models.small.price_as": "openai/gpt-5-mini",
        f"pipelines.{PIPELINE}.trigger.events": [EVENT_TYPE],
        f"pipelines.{PIPELINE}.trigger.start": "oldest",
        f"pipelines.{PIPELINE}.context.sections": {"ticket": ticket},
        f"pipelines.{PIPELINE}.ask.model": "small",
        f"pipelines.{PIPELINE}.deliver": [{"to": "helpdesk.internal_note", "template": "ticket-note.j2"}],
        f"pipelines.{PIPELINE}.limits": {"spend": "100000 USD/day", "per_event": "1 USD"},
    }
    overlay(HOUSE, folder, changes, pipelines=[PIPELINE])


async def fill(folder: Path, events: int) -> None:
    """
    Put the backlog on the hub's bus.
    """
    (folder / ".penstock").mkdir(parents=True)
    ours = bus.open(folder / ".penstock" / "bus.db", keep=DAY, clock=SystemClock())
    await ours.ensure_topic(TOPIC, PARTITIONS)
    work = Workload(seed=3, events=events, keys=0)
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z").encode()
    for first in range(0, events, 500):
        batch = []
        for number in range(first, min(first + 500, events)):
            key, headers, value = work.record(number)
            told = [(name, now if name == "ce_time" else text) for name, text in headers]
            batch.append(Outgoing(topic=TOPIC, key=key, value=value, headers=told))
        await ours.publish(batch)
    await ours.close()


def main() -> None:
    """
    Become the hub.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("account")
    parser.add_argument("--model", required=True)
    parser.add_argument("--desk", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    declare(given.folder, model=given.model, desk=given.desk, processes=given.processes)
    asyncio.run(fill(given.folder, given.events))
    secrets = {"ZENDESK_TOKEN": "x" * 16, "ZENDESK_HOOK": "hook", "ZENDESK_HOOK_OLD": "old"}
    secrets["OPENAI_API_KEY"] = given.account
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **secrets}
    os.chdir(given.folder)
    os.execve(sys.executable, [sys.executable, "-m", "penstock", "run"], environment)  # the same process goes on


if __name__ == "__main__":
    main()
