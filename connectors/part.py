"""
What every piece of a manifest is: frozen, and strict about unknown keys.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
EventType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_-]*$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Path = Annotated[str, StringConstraints(pattern=r"^/\S*$")]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Header = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]


class Part(BaseModel):
    """
    A piece of a manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
