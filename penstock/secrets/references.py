"""
References to secrets, as people write them: `${env:NAME}` and `${file:/path}`. Never the secret itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

MOST = 2  # live values of one secret: the new one and the old one
PATTERN = r"\$\{(env:[A-Za-z_][A-Za-z0-9_]*|file:[^{}\s]+)\}"
_REFERENCE = re.compile(PATTERN)
_HINT = "write a reference, ${env:NAME} or ${file:/path}, and keep the secret out of this file"


def is_reference(text: str) -> bool:
    """
    Say whether *text* is a reference, and nothing else.
    """
    return re.fullmatch(PATTERN, text) is not None


@dataclass(frozen=True, slots=True)
class SecretRef:
    """
    Where one secret is kept.
    """

    source: Literal["env", "file"]
    name: str
    """The variable, or the path; a relative path is below the working folder."""

    def __str__(self) -> str:
        return f"${{{self.source}:{self.name}}}"

    @classmethod
    def parse(cls, text: object) -> SecretRef:
        """
        Read *text*; raises `ValueError`, which never repeats *text*: it may be a secret in clear.
        """
        if isinstance(text, SecretRef):
            return text
        if not isinstance(text, str):
            raise ValueError(f"a {type(text).__name__} is not a reference to a secret: {_HINT}")  # noqa: TRY004  # what pydantic turns into a finding
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise ValueError(f"this is not a reference to a secret: {_complaint(text)}{_HINT}")
        source, _, name = found[1].partition(":")
        return cls("env" if source == "env" else "file", name)


def _complaint(text: str) -> str:
    if ":-" in text and text.startswith("${"):
        return "a secret has no default; "
    if text.startswith("${") and ":" not in text:
        return "it does not say where to look; "
    return ""


@dataclass(frozen=True, slots=True)
class SecretRefs:
    """
    One secret under rotation: one reference, or [new, old]. The newest is used, all are believed.
    """

    refs: tuple[SecretRef, ...]

    def __iter__(self) -> Iterator[SecretRef]:
        return iter(self.refs)

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def newest(self) -> SecretRef:
        """
        The reference whose secret we use ourselves.
        """
        return self.refs[0]

    @classmethod
    def parse(cls, value: object) -> SecretRefs:
        """
        Read one reference or a list of one or two; raises `ValueError`.
        """
        if isinstance(value, SecretRefs):
            return value
        if isinstance(value, str | SecretRef):
            return cls((SecretRef.parse(value),))
        if not isinstance(value, Sequence) or not 1 <= len(value) <= MOST:
            raise ValueError("a secret is one reference or a list of two, the new one first: [new, old]")
        return cls(tuple(SecretRef.parse(item) for item in value))

    def written(self) -> str | list[str]:
        """
        Return it as it stands in YAML.
        """
        texts = [str(ref) for ref in self.refs]
        return texts[0] if len(texts) == 1 else texts

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(cls.written, when_used="json-unless-none"),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        one = {"type": "string", "pattern": f"^{PATTERN}$", "examples": ["${env:API_TOKEN}"]}
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MOST}], "x-secret": True}
