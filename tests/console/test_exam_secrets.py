"""
`penstock doctor` says of each reference whether its secret can be had.
"""

from __future__ import annotations

from console.cli import exam_secrets
from console.cli.exam import Finding
from penstock.clock import ManualClock
from penstock.redaction import Redactor
from penstock.secrets import SecretRefs, Secrets
from tests.stores.hashicorp import VaultDouble

WANTED = [
    SecretRefs.parse(written)
    for written in (
        ["${env:THERE}", "${env:OLD}"],
        "${env:NOWHERE}",
        "${vault:kv/crm#token}",
        ["${vault:kv/desk#token}", "${vault:kv/old#token}"],
        "${vault:kv/crm#password}",
    )
]


async def looked(*, offline: bool = False, down: bool = False) -> dict[str, Finding]:
    vault = VaultDouble(clock := ManualClock(), down=down)
    vault.put("kv/crm", token="first-secret")
    vault.put("kv/crm", token="second-secret")
    vault.put("kv/desk", token="third-secret")
    environment = {"THERE": "a-secret", "VAULT_ADDR": "https://vault.example", "VAULT_TOKEN": vault.token}
    secrets = Secrets(environment, redactor=Redactor(), clock=clock)
    found = await exam_secrets.each(WANTED, secrets, vault, offline=offline)
    assert "-secret" not in str(found)
    assert offline == (vault.calls == [])
    return {finding.what.removeprefix("secret "): finding for finding in found}


async def test_each_reference_has_its_finding() -> None:
    """What is there is ok, what is missing is bad and says how to mend it, an old secret may be missing."""
    found = await looked()

    assert {what: finding.state for what, finding in found.items()} == {
        "${env:THERE}": "ok",
        "${env:OLD}": "note",
        "${env:NOWHERE}": "bad",
        "${vault:kv/crm#token}": "ok",
        "${vault:kv/desk#token}": "ok",
        "${vault:kv/old#token}": "note",
        "${vault:kv/crm#password}": "bad",
    }
    assert found["${vault:kv/crm#token}"].says == "is there, with the version before"
    assert "has no field 'password'" in found["${vault:kv/crm#password}"].says


async def test_a_store_that_is_away_is_down() -> None:
    """Nothing is wrong with what a person wrote."""
    found = await looked(down=True)

    assert found["${vault:kv/crm#token}"].state == "down"
    assert "cannot be asked for" in found["${vault:kv/crm#token}"].says
    assert found["${vault:kv/old#token}"].state == "note"


async def test_offline_no_store_is_asked() -> None:
    """`--offline` still looks at variables and files."""
    found = await looked(offline=True)

    assert found["${vault:kv/crm#token}"].state == "note"
    assert found["${env:NOWHERE}"].state == "bad"
