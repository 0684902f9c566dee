"""
The statements of the ledger by their names, read from `sql/`.
"""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def _read(text: str) -> dict[str, str]:
    _, *parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


queries = {
    name: statement
    for file in sorted(Path(__file__).with_name("sql").glob("*.sql"))
    for name, statement in _read(file.read_text()).items()
}
"""
Each begins with a comment that says what it does.
"""
