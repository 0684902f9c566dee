"""
What a system offers that is described where its connection is.

The settings `auth`, `verify`, `events`, `polls`, `lookups`, `actions` and so on say what they say in a manifest; only
secrets have their names already. A system that several hubs use, or that needs more than a screen, gets a manifest of
its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from connectors.described import Described
from connectors.manifest import Manifest
from connectors.rest import reaching
from connectors.settings import Setting, SettingError, check_shapes, settings_schema
from connectors.specs import ConnectorSpec

NAME = "rest"
DESCRIPTION = "Any system that speaks HTTP and JSON, described where its connection is."
_DATA = {"type": "object"}
_LIST = {"type": "array", "items": {"type": "object"}}
_TEXTS = {"type": "array", "items": {"type": "string"}}

SETTINGS: Mapping[str, Setting] = {
    "url": Setting(
        description="Base URL of the system.",
        pattern="^(https://|http://(127\\.0\\.0\\.1|localhost|\\[::1\\])(:|/|$))",
        example="https://erp.acme.example",
    ),
    "user": Setting(description="Name for `auth.basic`, as `settings.user`.", optional=True),
    "client_id": Setting(description="Client id for `auth.oauth2`, as `settings.client_id`.", optional=True),
    "public_url": Setting(
        description="Our address as the system knows it, where its signature covers it.",
        optional=True,
        pattern="^https?://",
    ),
    "token": Setting(description="A token.", secret=True, optional=True),
    "password": Setting(description="A password.", secret=True, optional=True),
    "client_secret": Setting(description="Secret of an OAuth 2 client.", secret=True, optional=True),
    "webhook_secret": Setting(description="What deliveries are signed with.", secret=True, optional=True),
    **reaching.SETTINGS,
    "auth": Setting(
        description="How requests prove who we are: `bearer: token`, `basic`, `header`, `oauth2`.", shape=_DATA
    ),
    "headers": Setting(description="Headers of every request.", optional=True, shape=_DATA),
    "records": Setting(description="Patterns of record ids.", optional=True, shape=_DATA),
    "verify": Setting(description="How deliveries prove their sender.", optional=True, shape=_DATA),
    "recognise": Setting(description="Whether a signed body is a delivery at all.", optional=True),
    "handshakes": Setting(description="Deliveries that are about the webhook itself.", optional=True, shape=_LIST),
    "events": Setting(description="How a delivery becomes events.", optional=True, shape=_LIST),
    "polls": Setting(description="What is asked for from time to time.", optional=True, shape=_DATA),
    "own": Setting(description="What makes an event our own write.", optional=True, shape=_TEXTS),
    "lookups": Setting(description="Reads.", optional=True, shape=_DATA),
    "actions": Setting(description="Writes.", optional=True, shape=_DATA),
    "errors": Setting(description="What answers mean that are not the usual ones.", optional=True, shape=_LIST),
    "budget": Setting(description="How fast it may be asked.", optional=True, shape=_DATA),
    "health": Setting(description="One cheap read that says who we are.", shape=_DATA),
}
PIECES = (
    "auth",
    "headers",
    "records",
    "verify",
    "recognise",
    "handshakes",
    "events",
    "polls",
    "own",
    "lookups",
    "actions",
    "errors",
    "budget",
    "health",
)
_PLAIN = {name: setting for name, setting in SETTINGS.items() if name not in PIECES}
_NOTHING = {"auth": {"nothing": True}, "health": {"get": "/", "acts_as": "'nobody'", "detail": "''"}}


def manifest_of(settings: Mapping[str, Any]) -> Manifest:
    """
    Return the manifest that *settings* stand for; raises `SettingError` with the way to the first mistake.
    """
    pieces = {name: settings[name] for name in PIECES if name in settings}
    words = {"name": NAME, "description": DESCRIPTION, "settings": _PLAIN, "url": "url"}
    try:
        return Manifest.model_validate({**words, **_NOTHING, **pieces})
    except ValidationError as error:
        found = error.errors(include_url=False)
        first = min(found, key=lambda one: one["type"] != "extra_forbidden")  # a misspelt key is also a missing one
        keys = tuple(first["loc"]) or ("auth",)
        if first["type"] == "extra_forbidden":
            raise SettingError(f"there is no key {keys[-1]!r} here", keys) from None
        if first["type"] == "missing":
            raise SettingError(f"the key {keys[-1]!r} is missing", keys[:-1] or keys) from None
        said = str(first["msg"]).removeprefix("Value error, ")
        raise SettingError(said[:1].lower() + said[1:], keys) from None


def spec(settings: Mapping[str, Any]) -> ConnectorSpec:
    """
    Return what a connection with *settings* offers; raises `SettingError`.
    """
    check_shapes(SETTINGS, settings)
    reaching.check_reach(settings)
    found = manifest_of(settings).spec_with(settings)
    return ConnectorSpec(
        name=NAME,
        description=DESCRIPTION,
        settings=settings_schema(SETTINGS),
        events=found.events,
        lookups=found.lookups,
        actions=found.actions,
        guarded=found.guarded or not settings,
        delivers=found.delivers or not settings,
        sources=found.sources,
    )


DECLARED = Described(name=NAME, settings=SETTINGS, spec=spec)
