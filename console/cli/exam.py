"""
What one look of `penstock doctor` found.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One thing that was looked at.
    """

    what: str
    state: Literal["ok", "note", "bad", "down"]
    """`note` is worth knowing, `bad` must be mended, `down` cannot be reached."""
    says: str
    next: str = ""
    """What to do about it."""

    def as_data(self) -> dict[str, Any]:
        """
        Return it as JSON data.
        """
        return asdict(self)
