"""
Google's Vertex AI: generateContent in a project and a region, with an access token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from ai.providers import google
from ai.providers.contract import Question
from ai.providers.google import classify, read, thinks
from penstock.http import Request

if TYPE_CHECKING:
    from ai.models import ModelSpec

__all__ = ["classify", "probe", "read", "request", "thinks"]

EVERYWHERE = "global"
_CONTINENTS = frozenset({"us", "eu"})


def request(question: Question, key: str | None) -> Request:
    """
    Build the request, with the body that the official SDK would send; *key* is an access token.
    """
    headers = _headers(key)
    return Request.to("POST", _place(question.spec, "generateContent"), headers=headers, json=google.body(question))


def probe(spec: ModelSpec, key: str | None) -> Request:
    """
    Have one word counted, which costs nothing.
    """
    asked = {"contents": [{"parts": [{"text": "hello"}], "role": "user"}]}
    return Request.to("POST", _place(spec, "countTokens"), headers=_headers(key), json=asked)


def _place(spec: ModelSpec, verb: str) -> str:
    region = spec.region or EVERYWHERE
    base = (spec.url or _host(region)).rstrip("/").removesuffix("/v1")
    within = f"projects/{quote(spec.project or '', safe=':')}/locations/{quote(region, safe='')}"
    return f"{base}/v1/{within}/publishers/google/models/{quote(spec.model, safe='')}:{verb}"


def _host(region: str) -> str:
    if region == EVERYWHERE:
        return "https://aiplatform.googleapis.com"
    if region in _CONTINENTS:
        return f"https://aiplatform.{region}.rep.googleapis.com"
    return f"https://{region}-aiplatform.googleapis.com"


def _headers(key: str | None) -> dict[str, str]:
    headers = {"accept": "application/json", "content-type": "application/json"}
    return headers | ({"authorization": f"Bearer {key}"} if key else {})
