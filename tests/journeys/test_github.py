"""
Real GitHub payloads through a running hub.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock import HOUSE
from tests.journeys.github import travel

ELSEWHERE = "PENSTOCK_GITHUB_PAYLOADS"  # a folder of `<event>.<anything>.json`
PAYLOADS = Path(os.environ.get(ELSEWHERE) or HOUSE / "../shared/data/github")
FILES = list(PAYLOADS.glob("*.json"))


@pytest.mark.skipif(not FILES, reason=f"no payloads in {PAYLOADS}; name their folder in {ELSEWHERE}")
async def test_every_promise_is_kept_over_real_deliveries(tmp_path: Path) -> None:
    """
    Every delivery ends in a verdict; one comment of ours; repeated, forged and relabelled ones change nothing.
    """
    found = await travel(PAYLOADS, tmp_path / "hub")

    assert found.broken == []
    assert len(found.lines) > len(FILES)
