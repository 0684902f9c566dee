"""
What a connection to Salesforce offers: the objects and fields that are declared, and no others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.contract import JsonSchema
from connectors.described import Described
from connectors.settings import Setting, SettingError, check_shapes, settings_schema
from connectors.specs import ActionSpec, ConnectorSpec, LookupSpec, SourceSpec

NAME = "salesforce"
DESCRIPTION = "Salesforce: changes of records in, fields and notes out."
PUBSUB = "api.pubsub.salesforce.com:7443"
POLL_EVERY = 300.0  # seconds; each reading is a call of the daily limit

_API = "^[A-Za-z][A-Za-z0-9_]{0,79}$"
_PATH = "^[A-Za-z][A-Za-z0-9_]{0,79}(\\.[A-Za-z][A-Za-z0-9_]{0,79}){0,4}$"
_OBJECTS = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": _API},
    "additionalProperties": {
        "type": "object",
        "additionalProperties": False,
        "required": ["fields"],
        "properties": {
            "fields": {
                "type": "array",
                "minItems": 1,
                "maxItems": 100,
                "items": {"type": "string", "pattern": _API},
                "description": "API names of the fields that may be read and written.",
            },
            "external_id": {
                "type": "string",
                "pattern": _API,
                "description": "A text field of its own, unique and an external id, for our keys: `create` is then safe.",
            },
            "upsert_on": {"type": "string", "pattern": _API, "description": "The external id that `upsert` goes by."},
        },
    },
}
_LOOKUPS = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,62}$"},
    "additionalProperties": {
        "type": "object",
        "additionalProperties": False,
        "required": ["object", "by", "fields"],
        "properties": {
            "object": {"type": "string", "pattern": _API, "description": "What is looked for."},
            "by": {"type": "string", "pattern": _PATH, "description": "The field that a section asks by."},
            "fields": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9_]{0,62}$"},
                "additionalProperties": {"type": "string", "pattern": _PATH},
                "description": "Our name to theirs, such as `account: Account.Name`.",
            },
            "newest": {"type": "string", "pattern": _PATH, "description": "The field that orders them; CreatedDate."},
            "description": {"type": "string"},
            "ttl": {"type": "number", "minimum": 0},
        },
    },
}
SETTINGS: Mapping[str, Setting] = {
    "domain": Setting(
        description="My Domain, the part before `.salesforce.com`.",
        pattern="^[a-z0-9][a-z0-9.-]*$",
        example="acme.my",
    ),
    "client_id": Setting(description="Consumer key of the connected app (client credentials)."),
    "client_secret": Setting(description="Consumer secret of the connected app.", secret=True),
    "objects": Setting(description="Objects by API name, with the fields that count.", shape=_OBJECTS),
    "lookups": Setting(description="Further lookups by name.", optional=True, shape=_LOOKUPS),
    "changes": Setting(
        description="`stream` (Pub/Sub API, Change Data Capture), `poll`, or `none`.",
        default="stream",
        pattern="^(stream|poll|none)$",
    ),
    "app": Setting(
        description="The name our writes carry; change events show it.",
        default="penstock",
        pattern="^[A-Za-z0-9_-]{1,40}$",
    ),
    "api_version": Setting(description="Version of the REST API.", default="62.0", pattern="^[0-9]{2}\\.0$"),
    "leave": Setting(
        description="Percent of the daily API calls that are left to others.", default="10", pattern="^[0-9]{1,2}$"
    ),
    "pubsub": Setting(
        description="The Pub/Sub API; only for tests.", default=PUBSUB, pattern="^[A-Za-z0-9.-]+:[0-9]{1,5}$"
    ),
    "url": Setting(
        description="Base URL in place of the instance's; only for tests.",
        optional=True,
        pattern="^http://(127\\.0\\.0\\.1|localhost)(:|$)",
    ),
}
ANY: JsonSchema = {"type": ["string", "number", "boolean", "object", "array", "null"]}
META: Mapping[str, tuple[JsonSchema, str]] = {
    "id": ({"type": "string"}, "Id of the record, 18 characters."),
    "object": ({"type": "string"}, "API name of its object."),
    "changed": ({"type": "array", "items": {"type": "string"}}, "Fields that changed; empty when nobody knows."),
    "origin": ({"type": ["string", "null"]}, "Which client changed it, as Salesforce tells."),
    "ours": ({"type": "boolean"}, "Whether our own app changed it."),
    "modified": ({"type": ["string", "null"]}, "When the record changed last."),
}
KINDS = {
    "created": "A record was made.",
    "updated": "Fields of a record changed.",
    "deleted": "A record was deleted.",
    "undeleted": "A record came back from the bin.",
}


def word(name: str) -> str:
    """
    Return what an object is called in names of ours: `Account` is `account`, `Order_Line__c` is `order_line`.
    """
    return re.sub(r"__c$", "", name).lower()


def spec(settings: Mapping[str, Any]) -> ConnectorSpec:
    """
    Return what a connection with *settings* offers; raises `SettingError`.
    """
    check_shapes(SETTINGS, settings)
    objects = settings.get("objects") or {}
    lookups = {word(name): _record(name, rule) for name, rule in objects.items()}
    for name, rule in (settings.get("lookups") or {}).items():
        if name in lookups:
            raise SettingError(f"the lookup {name!r} reads a record already", ("lookups", name), "choose another name")
        lookups[name] = _query(name, rule)
    changes = settings.get("changes", "stream")
    return ConnectorSpec(
        name=NAME,
        description=DESCRIPTION,
        settings=settings_schema(SETTINGS),
        events={f"{word(name)}.{kind}": event_schema(rule, kind) for name, rule in objects.items() for kind in KINDS},
        lookups=lookups,
        actions=actions(objects),
        guarded=True,
        delivers=False,
        sources={} if changes == "none" else {source.name: source for source in (_source(changes),)},
    )


def _source(changes: str) -> SourceSpec:
    if changes == "poll":
        return SourceSpec(name="polled", description="Changed records, by SystemModstamp.", every=POLL_EVERY)
    return SourceSpec(name="changes", description="Change events over the Pub/Sub API.", every=0.0)


def event_schema(rule: Mapping[str, Any], kind: str) -> JsonSchema:
    """
    Return the schema of `event.data` of one object.
    """
    properties = {name: {**kind_of, "description": words} for name, (kind_of, words) in META.items()}
    properties |= {name: {**ANY, "description": f"The field `{name}`."} for name in rule["fields"]}
    required = [*META, *rule["fields"]]
    words = KINDS[kind]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
        "description": words,
    }


def _record(name: str, rule: Mapping[str, Any]) -> LookupSpec:
    fields: dict[str, JsonSchema] = {"id": {"type": "string", "description": "Its id."}}
    fields |= {"modified": {"type": ["string", "null"], "description": "When it changed last."}}
    fields |= {field: {**ANY, "description": f"The field `{field}`."} for field in rule["fields"]}
    return LookupSpec(
        name=word(name), description=f"One {name} by its id.", fields=fields, many=False, version="modified"
    )


def _query(name: str, rule: Mapping[str, Any]) -> LookupSpec:
    fields = {ours: {**ANY, "description": f"`{theirs}`."} for ours, theirs in rule["fields"].items()}
    said = rule.get("description") or f"{rule['object']} by {rule['by']}, newest first."
    return LookupSpec(name=name, description=said, fields=fields, many=True)


def actions(objects: Mapping[str, Any]) -> dict[str, ActionSpec]:
    """
    Return the actions on the declared objects.
    """
    found: dict[str, ActionSpec] = {}
    for name, rule in objects.items():
        short, fields = word(name), frozenset(rule["fields"])
        found[f"update_{short}"] = _sets(f"update_{short}", f"Set fields of a {name}.", "keyed", fields, short)
        safe = "keyed" if "external_id" in rule else "blind"
        found[f"create_{short}"] = _sets(f"create_{short}", f"Make a {name}.", safe, fields, short, made=True)
        if "upsert_on" in rule:
            words = f"Make or change the {name} whose `{rule['upsert_on']}` the record is."
            found[f"upsert_{short}"] = _sets(f"upsert_{short}", words, "keyed", fields, short, made=True)
    found["note"] = ActionSpec(
        name="note",
        description="Leave a completed task with a text on the record.",
        idempotency="read-back",
        takes=frozenset({"text"}),
        modes=("add",),
        sets=None,
        emits=frozenset({"task.created"} if "Task" in objects else ()),
        touches=frozenset(),
        reads=None,
    )
    return found


def _sets(
    name: str, description: str, safe: Any, fields: frozenset[str], short: str, *, made: bool = False
) -> ActionSpec:
    emits = {f"{short}.updated", f"{short}.created"} if made else {f"{short}.updated"}
    return ActionSpec(
        name=name,
        description=description,
        idempotency=safe,
        takes=frozenset({"fields"}),
        modes=("add",),
        sets=fields,
        emits=frozenset(emits),
        touches=frozenset(),
        reads=None if made else short,
    )


DECLARED = Described(name=NAME, settings=SETTINGS, spec=spec)
