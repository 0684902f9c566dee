"""
The demo over a real Kafka, and what others read of it there.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from bus.broker import Broker
from console.demo.on_kafka import CONSUMER
from console.demo.tickets import TICKETS

ROOT = Path(__file__).parents[2]


async def _messages(address: str, topic: str) -> int:
    async with AIOKafkaConsumer(topic, bootstrap_servers=address) as consumer:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        return sum((await consumer.end_offsets(places)).values())


def test_the_demo_runs_on_kafka(broker: Broker) -> None:
    """
    Every ticket comes to its verdict, and the console consumer reads an event for each.
    """
    words = [sys.executable, "-m", "penstock", "demo", "--fast", "--no-input", "--json", "--kafka", broker.address]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert 0 == ended.returncode, ended.stderr
    report = json.loads(ended.stdout)
    at = ["--bootstrap-server", broker.address, "--topic", report["topic"], "--from-beginning"]
    bounds = ["--max-messages", str(asyncio.run(_messages(broker.address, report["topic"]))), "--timeout-ms", "30000"]
    said = broker.tool(CONSUMER, *at, *bounds, "--property", "print.headers=true", timeout=120)

    assert f"Events travel over Kafka at {broker.address}, topic {report['topic']}" in ended.stderr
    assert f"--topic {report['topic']} --from-beginning" in ended.stderr
    assert [] == report["faults"]
    for ticket in TICKETS:
        assert f"ce_id:{ticket.event_id}" in said


def test_make_demo_starts_its_own_kafka(broker: Broker) -> None:
    """
    `make demo KAFKA=1` plays the demo, shows its events as Kafka's console consumer reads them, and stops its broker.
    """
    del broker  # where it cannot be had, neither can the demo's
    words = [sys.executable, "-m", "console.demo.on_kafka", "--fast", "--no-input"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    recipe = subprocess.run(["make", "-n", "demo", "KAFKA=1"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert 0 == ended.returncode, ended.stderr
    assert "The first 3 events, read by Kafka's own console consumer" in ended.stderr
    assert "ce_specversion:1.0" in ended.stderr
    assert "-m console.demo.on_kafka" in recipe.stdout
