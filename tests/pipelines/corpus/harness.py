"""
The corpus: broken declarations and exactly what `check` says about each.

A case is a folder `<family>/<name>/` with a `pipelines.yaml`, its `expected.txt`, and files of its own that
lie over `_base/`. Connectors come from a small catalog of their own, so that a case says one thing for ever.

    python -m tests.pipelines.corpus.harness        # writes every expected.txt anew: read the diff
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from connectors.specs import ActionSpec, ConnectorSpec, LookupSpec
from penstock.errors import Invalid
from pipelines import as_text, check

HERE = Path(__file__).parent
BASE = HERE / "_base"
ENVIRON = {"DESK_TOKEN": "set", "DESK_HOOK": "set", "CRM_TOKEN": "set", "MODEL_KEY": "set"}


def record(*names: str, lists: Collection[str] = ()) -> dict[str, Any]:
    """
    Return the closed schema of a record with text fields.
    """
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    fields = {name: texts if name in lists else text for name in names}
    return {"type": "object", "additionalProperties": False, "properties": fields}


def lookup(name: str, *names: str, many: bool = False) -> LookupSpec:
    """
    Return a lookup that gives text fields.
    """
    return LookupSpec(name=name, description=f"The {name}.", fields=record(*names)["properties"], many=many)


def action(name: str, **kw: Any) -> ActionSpec:
    """
    Return an action that takes text, adds and says nothing, but for what *kw* says.
    """
    usual: dict[str, Any] = {
        "description": f"Write a {name}.",
        "idempotency": "read-back",
        "takes": frozenset({"text"}),
        "modes": ("add",),
        "sets": None,
        "emits": frozenset(),
        "touches": frozenset(),
        "reads": None,
    }
    return ActionSpec(name=name, **(usual | kw))


def settings(plain: str) -> dict[str, Any]:
    """
    Return the settings of a connector: one plain, two secret, one with a default.
    """
    word = {"type": "string", "description": "Your account's name.", "pattern": "^[a-z0-9-]+$", "examples": ["acme"]}
    secret = {
        "anyOf": [{"type": "string"}, {"type": "array"}],
        "x-secret": True,
        "description": "From its settings page.",
    }
    fields = {
        plain: word,
        "token": secret,
        "hook_secret": secret,
        "url": {"type": "string", "default": "https://x.example"},
    }
    required = [plain, "token", "hook_secret"]
    return {"type": "object", "additionalProperties": False, "required": required, "properties": fields}


TICKET = record(
    "id",
    "subject",
    "description",
    "status",
    "priority",
    "org_id",
    "requester_id",
    "tags",
    "changed",
    lists=("tags", "changed"),
)
ACCOUNT = record("id", "name", "website", "industry", "changed", lists=("changed",))

DESK = ConnectorSpec(
    name="desk",
    description="A help desk that knows its own writes.",
    settings=settings("subdomain"),
    events={"ticket.created": TICKET, "ticket.updated": TICKET, "ticket.commented": TICKET},
    lookups={
        "ticket": lookup("ticket", "id", "subject", "status", "priority"),
        "organization": lookup("organization", "id", "name", "since", "tier"),
        "previous_tickets": lookup("previous_tickets", "id", "subject", "status", many=True),
    },
    actions={
        "internal_note": action("internal_note", emits=frozenset({"ticket.commented"}), reads="ticket"),
        "set_fields": action(
            "set_fields",
            idempotency="keyed",
            takes=frozenset({"fields"}),
            sets=frozenset({"status", "priority", "tags", "subject"}),
            steers=frozenset({"status", "priority", "tags"}),
            emits=frozenset({"ticket.updated"}),
            reads="ticket",
        ),
    },
    guarded=True,
)

CRM = ConnectorSpec(
    name="crm",
    description="Accounts, without any way to know its own writes.",
    settings=settings("account"),
    events={"account.created": ACCOUNT, "account.updated": ACCOUNT, "task.created": record("id", "title")},
    lookups={
        "account": lookup("account", "id", "name", "industry"),
        "contacts": lookup("contacts", "name", "email", many=True),
    },
    actions={
        "update": action(
            "update",
            idempotency="keyed",
            takes=frozenset({"fields"}),
            emits=frozenset({"account.updated"}),
            reads="account",
        ),
        "memo": action("memo", modes=("add", "replace-own"), reads="account"),
        "task": action("task", idempotency="blind", emits=frozenset({"task.created"})),
    },
    guarded=False,
)


class Catalog:
    """
    The two connectors of the corpus.
    """

    known: ClassVar = {"crm": CRM, "desk": DESK}

    def names(self) -> tuple[str, ...]:
        """
        Return their names.
        """
        return tuple(self.known)

    def spec(self, name: str, settings: Mapping[str, Any] | None = None) -> ConnectorSpec:
        """
        Return one of them.
        """
        if name not in self.known:
            raise Invalid(f"there is no connector {name!r}")
        return self.known[name]


def cases() -> list[Path]:
    """
    Return every case folder.
    """
    return sorted(path.parent for path in HERE.glob("*/*/pipelines.yaml") if BASE not in path.parents)


def output(case: Path, off: Collection[str] = ()) -> str:
    """
    Return what `check` says about *case*, without the families in *off*.
    """
    return as_text(report(case, off).findings)


def report(case: Path, off: Collection[str] = ()) -> check.Report:
    """
    Return the report on *case*.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(BASE, folder, dirs_exist_ok=True)
        shutil.copytree(case, folder, dirs_exist_ok=True)
        with contextlib.chdir(folder):
            return check.run(Path("pipelines.yaml"), catalog=Catalog(), environ=ENVIRON, off=off)


def main() -> None:
    """
    Write every expected output anew.
    """
    for case in cases():
        (case / "expected.txt").write_text(output(case), "utf-8")


if __name__ == "__main__":
    main()
