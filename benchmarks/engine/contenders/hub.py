"""
Penstock itself: `penstock run` on a folder made for the occasion, with nothing switched off.

Kafka, the ledger in a file with its syncs, the context with its tokens counted, the schema and the
evidence of answers checked, caps per event and per day, the write intended, fenced and marked.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.engine.contenders.words import SECRET, Given, given
from benchmarks.engine.workload import EVENT_TYPE, PARTITIONS
from console.testing import free_port, overlay
from penstock import HOUSE

PIPELINE = "ticket-summary"


def declare(to: Given) -> Path:
    """
    Write the folder of a hub that reads the topic; return it.

    It is the worked example without its lookups and without reading the ticket again: the others do not
    ask for those either.
    """
    ticket = {
        "from": "event.data",
        "fields": ["subject", "category", "priority", "description"],
        "tokens": "300..1500",
        "cut": "middle",
        "priority": 1,
    }
    changes: dict[str, Any] = {
        "hub.listen": f"127.0.0.1:{free_port()}",
        "hub.bus": {"kafka": to.broker, "prefix": to.prefix, "partitions": PARTITIONS},
        "hub.in_flight": to.in_flight,
        "hub.processes": to.processes,
        "connections.helpdesk.url": to.doubles,
        "models.small.url": f"{to.doubles}/v1",
        "models.small.price_as": "openai/gpt-5-mini",
        f"pipelines.{PIPELINE}.trigger.events": [EVENT_TYPE],
        f"pipelines.{PIPELINE}.context.sections": {"ticket": ticket},
        f"pipelines.{PIPELINE}.deliver": [{"to": "helpdesk.internal_note", "template": "ticket-note.j2"}],
        f"pipelines.{PIPELINE}.limits": {"spend": "100000 USD/day", "per_event": "1 USD"},
    }
    return overlay(HOUSE, Path(to.folder), changes, pipelines=[PIPELINE])


async def start_at_the_oldest(to: Given) -> None:
    """
    Give the hub's group a position: a group that was never seen would begin with the next event.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=to.broker, group_id=f"{to.prefix}.{PIPELINE}", enable_auto_commit=False
    )
    await consumer.start()
    try:
        places = [TopicPartition(to.topic, number) for number in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.commit(dict.fromkeys(places, 0))
    finally:
        await consumer.stop()


def main() -> None:
    """
    Become the hub.
    """
    to = given()
    folder = declare(to)
    asyncio.run(start_at_the_oldest(to))
    secrets = {"ZENDESK_TOKEN": SECRET, "ZENDESK_HOOK": "hook", "ZENDESK_HOOK_OLD": "old", "OPENAI_API_KEY": SECRET}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **secrets}
    os.chdir(folder)
    os.execve(sys.executable, [sys.executable, "-m", "penstock", "run"], environment)  # the same process goes on


if __name__ == "__main__":
    main()
