"""
The demo over a real Kafka of its own, and its events read by Kafka's own command-line consumer.

    python -m console.demo.on_kafka     the words after it are those of `penstock demo`
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bus.broker import VERSION, Broker
from penstock.errors import Unreachable

CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
TOPICS = "org.apache.kafka.tools.TopicCommand"
SHOWN = 3  # events
WIDTH = 300  # characters of one
_TOPIC = re.compile(r"^demo-.*\.events\..*$", re.MULTILINE)


def main(words: list[str]) -> int:
    """
    Start a broker, play the demo on it, read its events, stop it; the exit code is the demo's.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-kafka-") as name:
        broker = Broker(Path(name))
        try:
            sys.stderr.write(f"Starting Kafka {VERSION} ...\n")
            broker.start()
            played = [sys.executable, "-m", "penstock", "demo", "--kafka", broker.address, *words]
            code = subprocess.run(played, check=False).returncode  # noqa: S603  the words are ours
            return code or _read(broker)
        except KeyboardInterrupt:
            return 130
        except Unreachable as error:
            sys.stderr.write(f"error: {error}\n")
            return 4
        finally:
            broker.stop(signal.SIGKILL)


def _read(broker: Broker) -> int:
    """
    Print the first events as anybody reads them; 1 when there is none.
    """
    at = ("--bootstrap-server", broker.address)
    found = _TOPIC.search(broker.tool(TOPICS, *at, "--list"))
    if found is None:
        return 1
    words = ("--from-beginning", "--max-messages", str(SHOWN), "--timeout-ms", "40000")
    said = broker.tool(CONSUMER, *at, "--topic", found[0], *words, "--property", "print.headers=true")
    events = [line for line in said.splitlines() if "ce_type:" in line]
    sys.stderr.write(f"\nThe first {len(events)} events, read by Kafka's own console consumer:\n")
    for event in events:
        sys.stderr.write(f"  {event if len(event) <= WIDTH else event[:WIDTH] + '…'}\n")
    return 0 if len(events) == SHOWN else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
