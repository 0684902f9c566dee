"""
What every contender is told on its command line, and what the hand-written ones ask and write.

The hand-written contenders do what a careful person writes in an afternoon: templates compiled once,
one session, nothing remembered. They keep no promise about order, loss or money.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from jinja2.sandbox import ImmutableSandboxedEnvironment

from penstock import HOUSE

SECRET = "bench-key-0123456789abcdef"
_TEMPLATES = ImmutableSandboxedEnvironment(trim_blocks=True)
_NOTE = _TEMPLATES.from_string((HOUSE / "templates" / "ticket-note.j2").read_text("utf-8"))
_ASK = _TEMPLATES.from_string((HOUSE / "templates" / "ticket-summary.j2").read_text("utf-8"))
_TICKET = _TEMPLATES.from_string(
    "<ticket>\nsubject: {{ subject }}\ncategory: {{ category }}\npriority: {{ priority }}\n"
    "description: {{ description }}\n</ticket>\n"
)
_SCHEMA = orjson.loads((HOUSE / "schemas" / "ticket-summary.json").read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """
    Where to read, whom to ask, how much at once.
    """

    broker: str
    prefix: str
    """What topic and group are named after."""
    doubles: str
    """Base URL of model and desk."""
    in_flight: int
    folder: str
    """For whoever keeps something."""
    processes: int = 1
    """For whoever can have several."""

    @property
    def topic(self) -> str:
        """
        Where the events are.
        """
        return f"{self.prefix}.events.helpdesk"


def given() -> Given:
    """
    Read the command line.
    """
    parser = argparse.ArgumentParser()
    for name in ("broker", "prefix", "doubles", "folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    return Given(**vars(parser.parse_args()))


def question(ticket: Mapping[str, Any]) -> bytes:
    """
    Return the body of a chat completion request about *ticket*.
    """
    body = {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": _ASK.render(context=_TICKET.render(ticket))}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "summary", "schema": _SCHEMA}},
    }
    return orjson.dumps(body)


def note(completion: bytes) -> bytes:
    """
    Return the body that writes a model's answer onto a ticket.
    """
    said = orjson.loads(orjson.loads(completion)["choices"][0]["message"]["content"])
    text = _NOTE.render(output=said, answer={"label": "openai/gpt-5-mini"})
    return orjson.dumps({"ticket": {"comment": {"body": text, "public": False}}})


def urls(to: Given, ticket: Mapping[str, Any]) -> tuple[str, str]:
    """
    Return where to ask and where to write.
    """
    return f"{to.doubles}/v1/chat/completions", f"{to.doubles}/api/v2/tickets/{ticket['id']}.json"


HEADERS = {"content-type": "application/json", "authorization": f"Bearer {SECRET}"}
