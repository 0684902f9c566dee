"""
Worlds are lived in silence: what they log is made for people, and pytest would format and keep all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """
    Let nobody log; what happened in a world that fails says its trace.
    """
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
