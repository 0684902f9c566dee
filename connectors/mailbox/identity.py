"""
What tells one mail from every other, by its bytes alone: it needs no parser, and cannot fail.
"""

from __future__ import annotations

import hashlib
import re

STABLE = (b"message-id", b"date", b"from", b"to", b"subject")
HEAD = 256 * 1024  # bytes that are looked through for headers
# A mail without headers begins with the empty line.
_END = re.compile(rb"(?:\A|\r?\n)\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")


def digest(raw: bytes) -> str:
    """
    Return the identity of a mail: of what its writer said, not of the trace servers leave on its way.

    A Message-ID alone is none: anybody may write the one of somebody else.
    """
    end = _END.search(raw[:HEAD])
    head, body = (raw[: end.start()], raw[end.end() :]) if end else (raw[:HEAD], raw[HEAD:])
    said = hashlib.sha256()
    for line in _FOLD.sub(b" ", head).splitlines():
        name, _, value = line.partition(b":")
        # With space before it, it goes on with a header that a route may have put there.
        if name.rstrip().lower() in STABLE:
            said.update(name.rstrip().lower() + b":" + b" ".join(value.split()) + b"\n")
    said.update(hashlib.sha256(body.replace(b"\r\n", b"\n").rstrip()).digest())
    return said.hexdigest()[:32]
