"""
The event: one change in a business system, as a CloudEvents 1.0 envelope.

Two encodings, both from the CloudEvents specifications: structured JSON (`to_json`, `from_json`) and
the Kafka protocol binding in binary mode (`to_kafka`, `from_kafka`), where attributes travel as
`ce_` headers and the data alone is the record's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator

Text = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
_ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "dataschema")
_EXTENSIONS = ("partitionkey", "traceparent", "actor", "ownwrite", "depth", "tenant", "lumped")
_NAMES = (*_ATTRIBUTES, *_EXTENSIONS)


class Event(BaseModel):
    """
    One change in a system. `(source, id)` is its identity and is stable over redeliveries.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    specversion: Literal["1.0"] = "1.0"
    id: Text
    """Derived from the change itself, never from the delivery."""
    source: Text
    """URI of the remote account, e.g. `https://acme.zendesk.com`; never the connection's name."""
    type: Text
    """`object.past-participle`, e.g. `ticket.created`."""
    subject: Text
    """The bare id of the record this event is about."""
    time: AwareDatetime
    """When the change happened, as the system says."""
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str | None = None
    data: dict[str, Any]
    """The change, as JSON data."""

    partitionkey: str | None = None
    """What keeps order on the bus; the subject when not set."""
    traceparent: str | None = None
    """W3C trace context."""
    actor: str | None = None
    """Who made the change, in the system's own id."""
    ownwrite: str | None = None
    """Why the connector holds this for our own write, e.g. `actor=4711`; None when it does not."""
    depth: int = Field(default=0, ge=0, le=64)
    """How many of our own writes led to this event."""
    tenant: str | None = None
    lumped: bool = False
    """Whether it may stand for several changes, of several people: a poll found it, and it says neither who nor what."""

    @field_validator("data")
    @classmethod
    def _storable(cls, data: dict[str, Any]) -> dict[str, Any]:
        try:
            # Refuses lone surrogates, integers over 64 bits, nesting too deep for the envelope.
            plain: dict[str, Any] = orjson.loads(orjson.dumps({"data": data}))["data"]
        except TypeError as error:
            raise ValueError(f"it cannot be kept as JSON: {error}") from None
        return plain

    @property
    def key(self) -> str:
        """
        What keeps order: the partition key, by default the subject.
        """
        return self.partitionkey or self.subject

    def to_json(self) -> bytes:
        """
        Return the structured JSON form.
        """
        return orjson.dumps(self.plain)

    def to_data(self) -> dict[str, Any]:
        """
        Return the structured JSON form as JSON data; `data` in it is the event's own, to be read only.
        """
        return dict(self.plain)

    @property
    def plain(self) -> Mapping[str, Any]:
        """
        The same, made once and only to be read: expressions ask for it a dozen times while the event runs.
        """
        held = self.__dict__
        found: dict[str, Any] | None = held.get("_plain")
        if found is None:
            found = self._attributes() | {"datacontenttype": self.datacontenttype, "data": self.data}
            held["_plain"] = found
        return found

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """
        Return a copy, with other values where *update* has them.
        """
        copied = super().model_copy(update=update, deep=deep)
        vars(copied).pop("_plain", None)
        return copied

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """
        Read the structured JSON form; raises pydantic's `ValidationError` (a `ValueError`).
        """
        return cls.model_validate_json(body)

    def to_kafka(self) -> tuple[bytes, list[tuple[str, bytes]], bytes]:
        """
        Return key, headers and value of the Kafka protocol binding, binary mode.
        """
        headers = [("content-type", self.datacontenttype.encode())]
        headers += [(f"ce_{name}", _text(value)) for name, value in self._attributes().items()]
        return self.key.encode(), headers, orjson.dumps(self.data)

    @classmethod
    def from_kafka(cls, headers: list[tuple[str, bytes]], value: bytes) -> Self:
        """
        Read binary mode, or structured mode when the content type says so; raises `ValueError`.
        """
        found = {name.lower(): content for name, content in headers}
        if found.get("content-type", b"").startswith(b"application/cloudevents+json"):
            return cls.from_json(value)
        known = {name: found[f"ce_{name}"].decode() for name in _NAMES if f"ce_{name}" in found}
        return cls.model_validate({**known, "data": orjson.loads(value)})

    def _attributes(self) -> dict[str, Any]:
        held = self.__dict__
        values = {name: value for name in _NAMES if (value := held[name]) is not None}
        values["time"] = _rfc3339(self.time)
        for name in ("depth", "lumped"):
            if not values[name]:
                del values[name]
        return values


@lru_cache(maxsize=4096)  # an event is written out again and again while it runs
def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _text(value: Any) -> bytes:
    return str(value).encode()
