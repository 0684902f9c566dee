"""
The statements of the ledger by their names, read from `queries.sql`.
"""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def _read(text: str) -> dict[str, str]:
    _, *parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


queries = _read(Path(__file__).with_name("queries.sql").read_text())
