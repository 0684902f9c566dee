"""
How the pretended Jira keeps texts: documents, which version 2 of its API shows as wiki markup.
"""

from __future__ import annotations

import re
from typing import Any

from connectors.double import Refusal

_MARKUP = re.compile(r"([\[\]{}*])")


def document(text: str) -> dict[str, Any]:
    """
    Return the document of a text that a person typed.
    """
    parts = [
        {"type": "paragraph", "content": [{"type": "text", "text": line}] if line else []} for line in _lines(text)
    ]
    return {"type": "doc", "version": 1, "content": parts}


def plain(body: dict[str, Any]) -> str:
    """
    Return what a document says, a line for each paragraph.
    """
    return "\n".join("".join(part["text"] for part in block["content"]) for block in body["content"])


def markup(body: dict[str, Any]) -> str:
    """
    Return a document as version 2 shows it: what would be markup is escaped.
    """
    return _MARKUP.sub(r"\\\1", plain(body))


def refuse_document(body: Any) -> None:
    """
    Refuse what is no document.
    """
    good = isinstance(body, dict) and body.get("type") == "doc" and body.get("version") == 1
    if not good or not all(_is_paragraph(block) for block in body.get("content") or [None]):
        messages = {"errorMessages": [], "errors": {"comment": "Comment body is not valid!"}}
        raise Refusal(400, messages)
    if not plain(body).strip():
        raise Refusal(400, {"errorMessages": ["Comment body can not be empty!"], "errors": {}})


def _is_paragraph(block: Any) -> bool:
    return (
        isinstance(block, dict)
        and block.get("type") == "paragraph"
        and all(part.get("type") == "text" and part.get("text") for part in block.get("content", []))
    )


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")
