"""
Azure OpenAI: chat completions at a resource of one's own, where models are called as they were deployed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from ai.providers import openai
from ai.providers.contract import Question
from ai.providers.openai import classify, read
from penstock.http import Request

if TYPE_CHECKING:
    from ai.models import ModelSpec

__all__ = ["classify", "probe", "read", "request", "thinks"]

_DATED = re.compile(r"20\d\d-\d\d-\d\d")


def thinks(spec: ModelSpec) -> bool:
    """
    Tell whether the model always reasons before it answers; a deployment of another name tells by `price_as`.
    """
    return openai.reasons(spec.family)


def request(question: Question, key: str | None) -> Request:
    """
    Build the request, with the body that the official SDK would send.
    """
    spec = question.spec
    place = f"/deployments/{quote(spec.model, safe='')}" if _by_deployment(spec) else ""
    body = openai.chat(question, own=True, thinking=thinks(spec))
    headers = _headers(spec, key) | {"content-type": "application/json"}
    return Request.to(
        "POST", f"{_base(spec)}{place}/chat/completions", params=_version(spec), headers=headers, json=body
    )


def probe(spec: ModelSpec, key: str | None) -> Request:
    """
    Ask for the list of models.
    """
    return Request.to("GET", f"{_base(spec)}/models", params=_version(spec), headers=_headers(spec, key))


def _by_deployment(spec: ModelSpec) -> bool:
    """
    Tell whether the API is the dated one, which has each deployment at an address of its own.
    """
    return _DATED.match(spec.api_version or "") is not None


def _base(spec: ModelSpec) -> str:
    resource = (spec.url or "").rstrip("/").removesuffix("/v1").removesuffix("/openai")
    return f"{resource}/openai" if _by_deployment(spec) else f"{resource}/openai/v1"


def _version(spec: ModelSpec) -> dict[str, str]:
    return {"api-version": spec.api_version} if spec.api_version and spec.api_version != "v1" else {}


def _headers(spec: ModelSpec, key: str | None) -> dict[str, str]:
    """
    Return the headers; without a configured key, *key* is an access token.
    """
    headers = {"accept": "application/json"}
    if not key:
        return headers
    return headers | ({"api-key": key} if spec.key is not None else {"authorization": f"Bearer {key}"})
