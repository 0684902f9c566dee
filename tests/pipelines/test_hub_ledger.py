"""
`hub.ledger`: what `check` says of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import check

ROOT = Path(__file__).parents[2]


def said(tmp_path: Path, ledger: str) -> list[tuple[str, str]]:
    path = tmp_path / "pipelines.yaml"
    text = (ROOT / "pipelines.yaml").read_text()
    path.write_text(text.replace("hub:\n", f"hub:\n  ledger: {ledger}\n"))
    return [(one.severity, one.message) for one in check.run(path).findings if one.rule == "hub/ledger"]


@pytest.mark.parametrize("ledger", ["${env:PENSTOCK_LEDGER}", "postgresql://db.example/hub"])
def test_a_server_is_fine_and_the_bus_beside_it_is_named(tmp_path: Path, ledger: str) -> None:
    """
    Several hubs may share the ledger, but the embedded bus is each one's own: a note says so.
    """
    ((severity, message),) = said(tmp_path, ledger)
    assert severity == "note"
    assert "bus" in message


def test_another_database_is_refused(tmp_path: Path) -> None:
    """
    What is no address of PostgreSQL is an error.
    """
    ((severity, message),) = said(tmp_path, "mysql://db.example/hub")
    assert severity == "error"
    assert "PostgreSQL" in message
