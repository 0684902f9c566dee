"""
What a database offers is what its connection declares: queries are lookups, tables are sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.contract import JsonSchema
from connectors.described import Described
from connectors.settings import Setting, check_shapes, settings_schema
from connectors.specs import ConnectorSpec, LookupSpec, SourceSpec
from connectors.sql.shapes import LOOKUPS, SOURCES, event_types, fields_schema, misshapen

NAME = "sql"
DESCRIPTION = "PostgreSQL and every other database that SQLAlchemy speaks to: lookups by query, rows as events."
LISTENING = 0.0  # seconds between readings of a source that is woken up: it never ends

SETTINGS: Mapping[str, Setting] = {
    "url": Setting(
        description="Where the database is, as SQLAlchemy writes it; with the name and password of a role that may only read.",
        secret=True,
        example="${env:WAREHOUSE_URL}",
    ),
    "lookups": Setting(description="Queries by name; `:by` is what a section asks for.", optional=True, shape=LOOKUPS),
    "sources": Setting(description="Tables by name whose rows become events.", optional=True, shape=SOURCES),
}


def spec(settings: Mapping[str, Any]) -> ConnectorSpec:
    """
    Return what a connection with *settings* offers; raises `SettingError`.
    """
    lookups, sources = settings.get("lookups"), settings.get("sources")
    check_shapes(SETTINGS, settings)
    misshapen(lookups or {})
    return ConnectorSpec(
        name=NAME,
        description=DESCRIPTION,
        settings=settings_schema(SETTINGS),
        events=_events(sources or {}),
        lookups={name: _lookup(name, rule) for name, rule in (lookups or {}).items()},
        actions={},
        guarded=True,  # it writes nothing
        delivers=False,
        sources={name: _source(name, rule) for name, rule in (sources or {}).items()},
    )


def _lookup(name: str, rule: Mapping[str, Any]) -> LookupSpec:
    fields = fields_schema(rule["fields"])["properties"]
    return LookupSpec(name=name, description=rule.get("description", ""), fields=fields, many=rule.get("many", False))


def _source(name: str, rule: Mapping[str, Any]) -> SourceSpec:
    every = LISTENING if "listen" in rule else float(rule.get("every", 30))
    return SourceSpec(name=name, description=f"Rows of `{rule['table']}`.", every=every)


def _events(sources: Mapping[str, Any]) -> dict[str, JsonSchema]:
    found: dict[str, JsonSchema] = {}
    for rule in sources.values():
        for kind in event_types(rule):
            found[kind] = {**fields_schema(rule["fields"]), "description": f"A row of `{rule['table']}`."}
    return found


DECLARED = Described(name=NAME, settings=SETTINGS, spec=spec)
