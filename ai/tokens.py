"""
How many tokens a text has, in the one vocabulary every budget is written in: o200k.

The vocabulary is package data (`data/vocabulary.lock` says where it is from), checked against its
hash and never downloaded. Importing this module loads nothing; the first count takes about half a second.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import Unreachable

if TYPE_CHECKING:
    import tiktoken

VOCABULARY = Path(__file__).parent / "data" / "o200k_base.tiktoken.gz"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
"""Of the unpacked vocabulary; the same that tiktoken itself expects."""
LONG = 1_000
"""Characters from which a text is remembered by its hash instead of itself."""
_REMEMBERED = 4_096  # counts of long texts
_LOADING = threading.Lock()

# The pattern and the two special tokens are o200k_base's, as in tiktoken_ext/openai_public.py.
_PATTERN = "|".join(  # noqa: FLY002  # one alternative a line, as in the original
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
_SPECIAL = {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}


def count(text: str) -> int:
    """
    Return the exact number of o200k tokens of *text*; nothing in it is ever a special token.
    """
    if not text:
        return 0
    return _short(text) if len(text) < LONG else _LONG_COUNTS.of(text)


def encoding() -> tiktoken.Encoding:
    """
    Return the loaded encoding; raises `Unreachable` when the vocabulary is missing or altered.
    """
    with _LOADING:
        return _loaded()


@lru_cache(maxsize=32_768)
def _short(text: str) -> int:
    return len(encoding().encode_ordinary(text))


class _LongCounts:
    """
    Counts of long texts, by hash; the least recently used are forgotten.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self._guard = threading.Lock()

    def of(self, text: str) -> int:
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._guard:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        counted = len(encoding().encode_ordinary(text))
        with self._guard:
            self._known[key] = counted
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return counted


_LONG_COUNTS = _LongCounts()


@lru_cache(maxsize=1)
def _loaded() -> tiktoken.Encoding:
    import tiktoken  # slow to import, and not everybody counts

    return tiktoken.Encoding(
        name="o200k_base", pat_str=_PATTERN, mergeable_ranks=_ranks(VOCABULARY), special_tokens=_SPECIAL
    )


def _ranks(path: Path) -> dict[bytes, int]:
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as exc:
        raise Unreachable(f"the token vocabulary {path.name!r} cannot be read ({exc}): install Penstock again") from exc
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise Unreachable(f"the token vocabulary {path.name!r} is not the one Penstock shipped: install it again")
    lines = (line.split() for line in raw.splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}
