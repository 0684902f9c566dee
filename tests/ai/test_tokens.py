"""
Tokens: the shipped vocabulary, its hash, and counts.
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ai import tokens
from penstock.errors import Unreachable

KNOWN = [
    ("", 0),
    ("hello world", 2),
    ("<|endoftext|>", 7),  # text, never the special token
    ("123456789012", 4),  # a nonce: always four
    ("naïve café", 4),
    ("你好,世界", 3),
]


@pytest.mark.parametrize(("text", "expected"), KNOWN)
def test_counts_are_exact(text: str, expected: int) -> None:
    """count gives the number of o200k tokens."""
    assert expected == tokens.count(text)


def test_long_texts_count_alike_from_memory() -> None:
    """A long text counts the same the second time, when its hash is known."""
    text = "The parcel is late. " * 500

    first, second = tokens.count(text), tokens.count(text)

    assert len(tokens.encoding().encode_ordinary(text)) == first == second


def test_lone_surrogates_count() -> None:
    """A text that no encoding can carry still has a count."""
    assert tokens.count("a\ud800b" * 600) > 0


def test_the_lock_describes_the_shipped_file() -> None:
    """vocabulary.lock names the hash of the unpacked file and its number of tokens."""
    lock = tomllib.loads((tokens.VOCABULARY.parent / "vocabulary.lock").read_text())
    raw = gzip.decompress(tokens.VOCABULARY.read_bytes())

    assert lock["sha256"] == tokens.SHA256 == hashlib.sha256(raw).hexdigest()
    assert lock["tokens"] == len(raw.splitlines())
    assert lock["file"] == tokens.VOCABULARY.name


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"IQ== 0\n")], ids=["garbage", "other-vocabulary"])
def test_an_altered_vocabulary_is_refused(tmp_path: Path, content: bytes) -> None:
    """A vocabulary that is not the shipped one is an error that says so, never a download."""
    altered = tmp_path / "o200k_base.tiktoken.gz"
    altered.write_bytes(content)

    with pytest.raises(Unreachable, match=r"o200k_base\.tiktoken\.gz"):
        tokens._ranks(altered)


def test_importing_loads_nothing() -> None:
    """Importing ai.tokens imports neither tiktoken nor the vocabulary."""
    code = "import ai.tokens, sys; print('tiktoken' in sys.modules)"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "False"
