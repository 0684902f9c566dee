"""
References to secrets, as people write them, such as `${env:NAME}` and `${vault:mount/path#key}`. Never the secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

MOST = 2  # live values of one secret: the new one and the old one
Kind = Literal["env", "file", "aws", "azure", "gcp", "vault"]
_KEY = r"#[^{}\s#]+"
_SYNTAX: Mapping[Kind, str] = {
    "env": r"[A-Za-z_][A-Za-z0-9_]*",
    "file": r"[^{}\s]+",
    "aws": rf"[A-Za-z0-9/_+=.@:-]+(?:{_KEY})?",
    "azure": r"[A-Za-z0-9][A-Za-z0-9.:-]*/[A-Za-z0-9-]+",
    "gcp": r"[A-Za-z0-9][A-Za-z0-9:.-]*/[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)?",
    "vault": rf"[A-Za-z0-9_-]+(?:/[^{{}}\s#?%/.][^{{}}\s#?%/]*)+{_KEY}",
}
"""What follows `${kind:`, for each kind."""
FORMS: Mapping[Kind, str] = {
    "env": "${env:NAME}",
    "file": "${file:/path}",
    "aws": "${aws:name} or ${aws:name#key}",
    "azure": "${azure:vault/name}",
    "gcp": "${gcp:project/name} or ${gcp:project/name/version}",
    "vault": "${vault:mount/path#key}",
}
"""How people write each kind."""
PATTERN = r"\$\{(" + "|".join(f"{kind}:{rest}" for kind, rest in _SYNTAX.items()) + r")\}"
_REFERENCE = re.compile(PATTERN)
_BEGUN = re.compile(rf"\$\{{({'|'.join(_SYNTAX)}):")
_WITH_KEY: frozenset[Kind] = frozenset({"aws", "vault"})
HINT = "write a reference, ${env:NAME} or ${file:/path}, and keep the secret out of this file"


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

    source: Kind
    name: str
    """The variable, the path or the name in the store; a relative path is below the working folder."""
    key: str = ""
    """Which field of a secret that has several."""

    def __str__(self) -> str:
        return f"${{{self.source}:{self.name}{'#' if self.key else ''}{self.key}}}"

    @property
    def remote(self) -> bool:
        """
        Whether a server has to be asked.
        """
        return self.source not in {"env", "file"}

    @classmethod
    def parse(cls, text: object) -> SecretRef:
        """
        Read *text*; raises `ValueError`, which never repeats *text*: it may be a secret in clear.
        """
        if isinstance(text, SecretRef):
            return text
        if not isinstance(text, str):
            raise ValueError(f"a {type(text).__name__} is not a reference to a secret: {HINT}")  # noqa: TRY004  # what pydantic turns into a finding
        return _parsed(text)


@lru_cache(maxsize=256)
def _parsed(text: str) -> SecretRef:
    """
    Read a reference once: it is asked for with every request. What is none is refused, and not kept.
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise ValueError(f"this is not a reference to a secret: {_complaint(text)}")
    kind, _, rest = found[1].partition(":")
    source = cast("Kind", kind)
    name, _, key = rest.partition("#") if source in _WITH_KEY else (rest, "", "")
    return SecretRef(source, name, key)


def malformed(text: object) -> str | None:
    """
    Say how a reference of the kind that *text* begins with is written; None when it begins like none.
    """
    begun = _BEGUN.match(text) if isinstance(text, str) else None
    if begun is None or ":-" in str(text) or is_reference(str(text)):
        return None  # what follows `:-` would be a secret in clear
    return f"write {FORMS[cast('Kind', begun[1])]}"


def _complaint(text: str) -> str:
    if ":-" in text and text.startswith("${"):
        return f"a secret has no default; {HINT}"
    if form := malformed(text):
        return form
    if text.startswith("${") and ":" not in text:
        return f"it does not say where to look; {HINT}"
    return HINT


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
