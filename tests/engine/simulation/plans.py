"""
The pipelines of the simulated hub: one per class of action, two of them on one connection.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pipelines.declaration import Declaration
from pipelines.plan import Plan, compile_pipeline

ROOT = Path(__file__).with_name("hub")
CONNECTIONS = {"brief": "desk", "flag": "desk", "tally": "shop", "page": "pager"}
"""
Which connection each pipeline listens and writes to.
"""
ACTIONS = {"brief": "note", "flag": "put", "tally": "put", "page": "ring"}
BOTH = ("brief", "tally")
"""
Who also listens to changes, and so to the echoes of our own writes.
"""
ASK_TIMEOUT = 3.0  # seconds


@cache
def plans() -> dict[str, Plan]:
    """
    Return every pipeline, compiled.
    """
    declared = Declaration.model_validate(
        {
            "version": 1,
            "connections": {name: {"connector": name} for name in sorted({*CONNECTIONS.values()})},
            "models": {
                name: {"provider": "openai", "model": name, "url": "https://model.example/v1"} for name in CONNECTIONS
            },
            "pipelines": {name: _pipeline(name) for name in CONNECTIONS},
        }
    )
    return {name: compile_pipeline(declared, name, ROOT) for name in CONNECTIONS}


def _pipeline(name: str) -> dict[str, Any]:
    connection = CONNECTIONS[name]
    deliver: dict[str, Any] = {"to": f"{connection}.{ACTIONS[name]}", "template": "note.j2"}
    if name == "brief":
        deliver["unless"] = "record.status == 'closed'"
    return {
        "trigger": {
            "connection": connection,
            "events": ["ticket.created", *(["ticket.updated"] if name in BOTH else [])],
            "where": "event.data.kind | default('') != 'spam'",
        },
        "context": {"tokens": 300, "sections": {"ticket": {"from": "event.data", "fields": ["id", "ref"]}}},
        "ask": {
            "model": name,
            "template": "ask.j2",
            "output": "out.json",
            "timeout": f"{ASK_TIMEOUT:g}s",
            "max_output": 20,
        },
        "deliver": [deliver],
        "limits": {"spend": "1000 USD/day"},
        "on_error": {"retry": 20, "backoff": "500ms..2s"},
    }
