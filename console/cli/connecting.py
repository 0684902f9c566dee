"""
`penstock connectors`: what a hub can be connected to, and how well that is known to work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

import connectors
from connectors import catalog, quality
from connectors.quality import POINTS, Quality, Tier
from connectors.specs import ConnectorSpec
from console.cli import wording
from console.cli.exits import Exit
from console.cli.streams import emit, out, say
from penstock.errors import Invalid

NONE = "-"


def list_connectors(file: Path, *, as_json: bool) -> int:
    """
    Print every connector there is, a hub's own among them.
    """
    _extend(file)
    found, wrong = [], []
    for name in catalog.names():
        try:
            found.append((catalog.spec(name), quality.read(catalog.folder(name))))
        except Invalid as error:
            wrong.append(f"error: {name}: {error}")
    if as_json:
        emit("connectors", connectors=[_brief(spec, kept) for spec, kept in found])
    else:
        out().print(_table(found))
        say("next: penstock connectors NAME")
    for line in wrong:
        say(line)
    return Exit.INVALID if wrong else Exit.OK


def show_connector(file: Path, name: str, *, as_json: bool) -> int:
    """
    Print everything known of one connector.
    """
    _extend(file)
    spec, kept = catalog.spec(name), quality.read(catalog.folder(name))
    if as_json:
        emit("connector", **_whole(spec, kept))
        return Exit.OK
    out().print(spec.name, style="bold", end=": ")
    out().print(spec.description, markup=False)
    for title, rows in _parts(spec):
        _section(title, rows)
    _section("quality", _points(kept))
    if kept is None:
        say(f"next: inherit ConnectorContract in a test_*.py of its folder, then penstock connectors {name} --test")
    return Exit.OK


def show_tested(file: Path, name: str, least: Tier | None, *, as_json: bool) -> int:
    """
    Run the contract suite on a connector and print what it reaches.
    """
    from console.cli.contracting import reaches, test_connector

    _extend(file)
    passed, kept = test_connector(name)
    if as_json:
        emit("quality", **kept.model_dump(mode="json"))
    else:
        out().print(f"{name}: {_tier(kept)}")
        _section("quality", _points(kept))
    if least is not None and not reaches(kept, least):
        say(f"error: {name!r} does not reach {least}")
        return Exit.FINDINGS
    return Exit.OK if passed else Exit.FINDINGS


def _extend(file: Path) -> None:
    connectors.extend((file if file.is_dir() else file.parent) / "connectors")


def _tier(kept: Quality | None) -> str:
    return NONE if kept is None else kept.tier or "none"


def _brief(spec: ConnectorSpec, kept: Quality | None) -> dict[str, Any]:
    return {
        "name": spec.name,
        "tier": None if kept is None else kept.tier,
        "description": spec.description,
        "deliveries": spec.delivers,
        "sources": [*spec.sources],
        "lookups": [*spec.lookups],
        "actions": [*spec.actions],
    }


def _whole(spec: ConnectorSpec, kept: Quality | None) -> dict[str, Any]:
    return {
        "name": spec.name,
        "description": spec.description,
        "settings": dict(spec.settings),
        "events": {kind: dict(schema) for kind, schema in sorted(spec.events.items())},
        "lookups": {
            name: {"description": one.description, "many": one.many, "fields": dict(one.fields)}
            for name, one in spec.lookups.items()
        },
        "actions": {
            name: {
                "description": one.description,
                "class": one.idempotency,
                "takes": sorted(one.takes),
                "modes": one.modes,
                "sets": None if one.sets is None else sorted(one.sets),
                "emits": sorted(one.emits),
            }
            for name, one in spec.actions.items()
        },
        "deliveries": spec.delivers,
        "sources": {name: {"description": one.description, "every_s": one.every} for name, one in spec.sources.items()},
        "quality": None if kept is None else kept.model_dump(mode="json"),
    }


def _table(found: list[tuple[ConnectorSpec, Quality | None]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "tier", "in", "lookups", "actions"):
        table.add_column(name, no_wrap=True, justify="right" if name in {"lookups", "actions"} else "left")
    table.add_column("", overflow="fold")
    for spec, kept in found:
        table.add_row(
            spec.name,
            _tier(kept),
            _inward(spec),
            str(len(spec.lookups) or NONE),
            str(len(spec.actions) or NONE),
            wording.printable(spec.description),
        )
    return table


def _inward(spec: ConnectorSpec) -> str:
    ways = ["deliveries"] if spec.delivers else []
    if spec.sources:
        ways.append(wording.plural(len(spec.sources), "source"))
    return ", ".join(ways) or NONE


def _parts(spec: ConnectorSpec) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    needed = spec.settings.get("required", ())
    yield (
        "settings",
        [
            (name, _kind(name, part, needed), part.get("description", ""))
            for name, part in spec.settings["properties"].items()
        ],
    )
    yield "events", [(kind, "", schema.get("description", "")) for kind, schema in sorted(spec.events.items())]
    yield (
        "sources",
        [
            (one.name, f"every {one.every:g} s" if one.every else "stream", one.description)
            for one in spec.sources.values()
        ],
    )
    yield (
        "lookups",
        [(one.name, "many" if one.many else "one", one.description) for one in spec.lookups.values()],
    )
    yield "actions", [(one.name, one.idempotency, one.description) for one in spec.actions.values()]


def _kind(name: str, part: Mapping[str, Any], needed: Any) -> str:
    return ("secret" if part.get("x-secret") else "setting") + ("" if name in needed else ", optional")


def _points(kept: Quality | None) -> list[tuple[str, ...]]:
    if kept is None:
        return [("none", "", "nobody ran the contract suite on it")]
    against = ", ".join((*(f"our {name}" for name in kept.ours), *kept.foreign)) or "nothing"
    rows: list[tuple[str, ...]] = [(_tier(kept), kept.date, f"against {against}")]
    for number, state in kept.points.items():
        point = POINTS.get(number)
        about = point.says if point is not None else ""
        reasons = f" ({'; '.join(state.reasons)})" if state.reasons else ""
        rows.append((f"{number:>2} {point.tier if point is not None else ''}", state.state, about + reasons))
    return rows


def _section(title: str, rows: list[tuple[str, ...]]) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False, show_header=False, title=title, title_justify="left", title_style="bold")
    for column in range(3):
        table.add_column(no_wrap=column < 2, overflow="fold")
    for row in rows:
        table.add_row(*(wording.printable(cell) for cell in row))
    out().print()
    out().print(table)
