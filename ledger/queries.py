"""
The statements of the ledger by their names, read from `sql/`.
"""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def read(file: Path) -> dict[str, str]:
    """
    Return the statements of one file by their names.
    """
    _, *parts = _NAME.split(file.read_text())
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


queries = {
    name: statement
    for file in sorted(Path(__file__).with_name("sql").glob("*.sql"))
    for name, statement in read(file).items()
}
"""
Each begins with a comment that says what it does.
"""
