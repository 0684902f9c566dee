"""
Text from outside, made fit to stand in a prompt.

Afterwards it holds no character a person cannot see, no tag that looks like one of our frames, nothing
that begins a turn of its own, no line that begins with `/` and no two blank lines: the last two because o200k would join them with what
stands before, and a sum of counted pieces would no longer be the count of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from penstock.visible import lines, visible

TAG = "[tag]"
"""What stands where a look-alike of a frame was; inert, and visible to the model and to people."""
_NONCE = "[number]"
_BLANK = re.compile("\n{3,}")


def clean(text: str, names: Collection[str], nonce: str = "") -> str:
    """
    Return *text* without unseen characters, turns and look-alikes of the frames of *names*.
    """
    text = visible(lines(text))
    if any(bracket in text for bracket in _OPENING):
        text = _tags(frozenset(names)).sub(TAG, text)
    if any(bracket in text for bracket in _TURNING):
        text = _TURNS.sub(TAG, text)
    if nonce:
        text = text.replace(nonce, _NONCE)
    return _even(text)


def opening(text: str) -> str:
    """
    Return *text* as a body or unit may begin: not with a line end, nor with `/`.
    """
    text = text.lstrip("\n")
    return f" {text}" if text.startswith("/") else text


def _even(text: str) -> str:
    text = "\n".join(map(str.rstrip, text.split("\n"))).strip("\n")
    if "\n\n\n" in text:
        text = _BLANK.sub("\n\n", text)
    return opening(text.replace("\n/", "\n /"))


_TURNING = "<\uff1c["
_TURNS = re.compile(
    r"[<\uff1c][|\uff5c](?=\w)[\w \u2581.-]{0,60}(?:[|\uff5c][>\uff1e])?"
    r"|</?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn)>|<</?SYS>>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\]",
    re.IGNORECASE,
)
"""What begins and ends a turn for some models; a server that is told so reads it as that in any text."""
_OPENING = "<\uff1c\u2039\u2329\u27e8\u3008\ufe64"


@lru_cache(maxsize=256)
def _tags(names: frozenset[str]) -> re.Pattern[str]:
    words = "|".join(sorted(map(re.escape, names | {"context"}), key=lambda word: (-len(word), word)))
    return re.compile(rf"[{_OPENING}][\s/\\]*(?:{words})\b[^<>\n]{{0,100}}>?", re.IGNORECASE)
