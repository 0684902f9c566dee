"""
What a provider's response comes to: an answer, or the error it stands for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ai import tokens
from ai.errors import AIError
from ai.providers import adapter
from ai.providers.contract import Malformed, Reading
from penstock.redaction import LIVE, MASK
from schemas.entries import Usage

if TYPE_CHECKING:
    from ai.models import ModelSpec
    from penstock.http import Response

ECHOED = 12  # characters from which a key in an answer is no chance


def heard(spec: ModelSpec, response: Response, key: str | None = None) -> Reading | AIError:
    """
    Return what *response* says, without the *key* it was asked with.
    """
    words = adapter(spec.provider)
    if (error := words.classify(response)) is not None:
        return error
    try:
        return _unechoed(words.read(response), key)
    except Malformed as exc:
        return AIError(f"{exc} (HTTP {response.status})", error_class="malformed_response")


def _unechoed(reading: Reading, key: str | None) -> Reading:
    """
    Take the key out of what a server says: an answer is kept, and written where others read it.
    """
    if key is None or len(key) < ECHOED:
        return reading
    texts = {name: getattr(reading, name) for name in ("text", "refusal", "response_id", "response_model")}
    if not any(text and key in text for text in texts.values()):
        return reading
    return replace(reading, **{name: text and text.replace(key, MASK) for name, text in texts.items()})


def unfinished(reading: Reading, room: int) -> AIError | None:
    """
    Return why *reading* is no answer, when it is none; *room* are the tokens it had.
    """
    if reading.finish_reason == "content_filter":
        why = f": {reading.refusal}" if reading.refusal else ""
        return AIError(f"the model refused to answer{why}", error_class="content_policy", billed="yes")
    if reading.finish_reason == "context":
        return AIError("the model's window ended inside the answer", error_class="context_too_long", billed="yes")
    if reading.finish_reason == "length":
        message = f"the answer did not fit its room of {room} tokens; raise `max_output`"
        return AIError(message, error_class="truncated")
    return None


def counted(reading: Reading, given: int) -> Reading:
    """
    Put our own count where the provider gave none; *given* are the input tokens at most.
    """
    if not reading.usage.estimated:
        return reading
    usage = Usage(input=given, output=tokens.count(reading.text), estimated=True)
    return replace(reading, usage=usage)


def scrubbed(error: AIError, spec: ModelSpec, key: str | None = None) -> AIError:
    """
    Name the model, and take every key out of what the provider said.
    """
    text = LIVE.hide(str(error).replace(key, MASK) if key else str(error))
    error.args = (f"model {spec.name!r} ({spec.label}): {text}",)
    error.model = spec.name
    return error
