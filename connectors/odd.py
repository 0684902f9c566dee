"""
What a source says of a change that cannot be the event it is declared to be.
"""

from __future__ import annotations

from pydantic import ValidationError


def reason(error: Exception) -> str:
    """
    Return why no event could be made, without what stood in the change.
    """
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)[:300]
    if isinstance(error, KeyError):
        return f"{error} is not known"
    return str(error)[:300] or type(error).__name__
