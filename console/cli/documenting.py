"""
`penstock docs`: what others have to know about a hub.
"""

from __future__ import annotations

from pathlib import Path

from console.cli import project
from console.cli.streams import write
from console.places import layout
from penstock import __version__
from penstock.errors import Invalid


def docs(file: Path, *, asyncapi: bool) -> int:
    """
    Print the AsyncAPI document of a hub on Kafka.
    """
    if not asyncapi:
        raise Invalid("say what to print", where="penstock docs", hint="penstock docs --asyncapi")
    from bus.asyncapi import describe

    declaration = project.declaration(project.load(file))
    kafka = declaration.hub.bus
    if kafka is None:
        hint = "write hub.bus: {kafka: host:port}; the embedded bus is read by this hub alone"
        raise Invalid("events of this hub do not travel over Kafka", where=str(file), hint=hint)
    cut = layout(declaration)
    groups = [
        (cut.topic(entry.trigger.connection), f"{kafka.prefix}.{name}") for name, entry in declaration.pipelines.items()
    ]
    servers = ["kafka"] if "${" in kafka.kafka else [each.strip() for each in kafka.kafka.split(",")]
    write(describe(map(cut.topic, declaration.connections), groups, version=__version__, servers=servers))
    return 0
