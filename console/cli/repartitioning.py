"""
`penstock bus repartition`: more partitions, when nothing is left that could be overtaken.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from bus.kafka import KafkaBus
from console.app import open_hub
from console.cli import project
from console.cli.exits import Exit
from console.cli.streams import say
from console.places import layout
from ledger import TopicEntry
from penstock.errors import Invalid
from pipelines.declaration import Declaration


def repartition(file: Path) -> int:
    """
    Give every topic as many partitions as `hub.bus.partitions` says.
    """
    loaded = project.load(file)
    project.refuse(file)
    declaration = project.declaration(loaded)
    if declaration.hub.bus is None:
        message = "the embedded bus keeps the partitions it was made with"
        raise Invalid(message, where="hub.bus", hint="this is for a hub on Kafka")
    return asyncio.run(_repartition(declaration, loaded.root))


async def _repartition(declaration: Declaration, root: Path) -> int:
    cut = layout(declaration)
    async with open_hub(declaration, root) as hub:
        assert isinstance(hub.bus, KafkaBus)
        for connection in declaration.connections:
            topic = cut.topic(connection)
            readers = [name for name, plan in hub.plans.items() if plan.connection == connection]
            known = {name: await hub.ledger.positions(name, topic) for name in readers}
            if not await hub.bus.add_partitions(topic, known, cut.partitions):
                say(f"{topic}: not there yet; `penstock run` makes it with {cut.partitions} partitions")
                continue
            for name, positions in known.items():
                if positions:
                    await hub.ledger.keep_positions(name, topic, dict.fromkeys(range(cut.partitions), 0) | positions)
            facts = await hub.bus.facts(topic)
            assert facts is not None
            await hub.ledger.keep_topic(topic, TopicEntry(partitions=facts.partitions, identity=facts.identity))
            say(f"{topic}: {facts.partitions} partitions")
    say("next: start the workers, all with the same `hub.bus.partitions`")
    return Exit.OK
