"""
Secrets of a store: fetched before use, renewed beside the work, both live during a rotation, stale for so long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.clock import ManualClock
from penstock.errors import Unavailable, Unreachable
from penstock.redaction import Redactor
from penstock.secrets import MissingSecret, SecretAway, SecretRefs, Secrets
from penstock.secrets.kept import AGAIN, HURRIED, JITTER, LIFE, STALE
from penstock.secrets.stores.contract import OVERLAP
from tests.stores.hashicorp import VaultDouble

REF = "${vault:kv/crm#token}"
REFS = SecretRefs.parse(REF)
ONE_LIFE = LIFE * (1 + JITTER) + 1  # seconds after which a secret was asked for again for sure


class Hub:
    """
    Secrets as a running hub has them.
    """

    def __init__(self, **environment: str) -> None:
        self.clock = ManualClock()
        self.vault = VaultDouble(self.clock)
        self.redactor = Redactor()
        given = environment or {"VAULT_TOKEN": self.vault.token}
        self.secrets = Secrets(
            {"VAULT_ADDR": "https://vault.example", **given}, redactor=self.redactor, clock=self.clock
        )

    @asynccontextmanager
    async def running(self, *refs: object) -> AsyncIterator[None]:
        async with self.secrets.renewed([SecretRefs.parse(ref) for ref in refs or (REF,)], http=self.vault):
            yield

    def live(self, ref: object = REF) -> list[str]:
        return [secret.reveal() for secret in self.secrets.all(SecretRefs.parse(ref))]

    async def later(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.vault.put("kv/crm", token="first-secret", user="hub")
    return hub


async def test_nothing_is_asked_before_it_is_needed(hub: Hub) -> None:
    """A reference that was read asks nobody, and has no value until it was fetched."""
    with pytest.raises(SecretAway, match=r"\$\{vault:kv/crm#token\} was not fetched yet"):
        hub.secrets.get(REF)

    assert hub.vault.calls == []


async def test_a_secret_is_fetched_once_for_all_its_fields(hub: Hub) -> None:
    """Two references to one secret are one request, and so of one version."""
    async with hub.running(REF, "${vault:kv/crm#user}"):
        assert hub.secrets.get(REF).reveal() == "first-secret"
        assert hub.secrets.get("${vault:kv/crm#user}").reveal() == "hub"

    assert len(hub.vault.calls) == 1


async def test_a_secret_is_asked_for_again_after_its_life(hub: Hub) -> None:
    """Not before its life less the jitter, and surely after its life and the jitter."""
    async with hub.running():
        await hub.later(LIFE * (1 - JITTER) - 1)
        assert len(hub.vault.calls) == 1
        await hub.later(LIFE * 2 * JITTER + 2)
        assert len(hub.vault.calls) == 2


async def test_lives_are_not_all_of_one_length() -> None:
    """Hubs that started together do not ask together for ever."""
    hub = Hub()
    refs = [f"${{vault:kv/s{number}#token}}" for number in range(20)]
    for number in range(20):
        hub.vault.put(f"kv/s{number}", token=f"secret-{number}")

    async with hub.running(*refs):
        assert len({kept.due for kept in hub.secrets._remote._kept.values()}) > 15


async def test_a_rotation_needs_no_restart_and_both_live_meanwhile(hub: Hub) -> None:
    """The new value is used, the one before is believed until the overlap ends."""
    async with hub.running():
        await hub.later(OVERLAP)
        hub.vault.put("kv/crm", token="second-secret")
        await hub.later(ONE_LIFE)
        assert hub.live() == ["second-secret", "first-secret"]

        await hub.later(OVERLAP)
        assert hub.live() == ["second-secret"]


async def test_a_process_that_starts_during_the_overlap_knows_both(hub: Hub) -> None:
    """The store says what the version before was."""
    hub.vault.put("kv/crm", token="second-secret")

    async with hub.running():
        assert hub.live() == ["second-secret", "first-secret"]


async def test_a_version_that_was_deleted_is_not_believed(hub: Hub) -> None:
    """Who destroys the version before means it, also to a process that had it in its hands."""
    async with hub.running():
        hub.vault.put("kv/crm", token="second-secret")
        hub.vault.delete("kv/crm", 0)
        await hub.later(ONE_LIFE)

        assert hub.live() == ["second-secret"]


async def test_an_outage_leaves_secrets_in_use_for_a_while(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """What was known holds for its life and four hours; then what needs it waits, and goes on with the store."""
    async with hub.running():
        hub.vault.down = True
        await hub.later(STALE)
        assert hub.live() == ["first-secret"]

        await hub.later(ONE_LIFE)
        with pytest.raises(SecretAway, match="cannot be asked for: Vault at https://vault.example") as caught:
            hub.secrets.get(REF)
        assert isinstance(caught.value, Unavailable)

        hub.vault.down = False
        await hub.later(AGAIN * (1 + JITTER) + 1)
        assert hub.live() == ["first-secret"]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1, "an outage is told once"


async def test_the_word_of_the_store_that_there_is_none_counts_at_once(hub: Hub) -> None:
    """A deleted secret is of no use from the next look on; what needs it waits."""
    async with hub.running():
        hub.vault.delete("kv/crm")
        await hub.later(ONE_LIFE)

        with pytest.raises(SecretAway, match="is not there"):
            hub.secrets.get(REF)


async def test_a_refused_login_leaves_secrets_in_use_for_a_while(hub: Hub) -> None:
    """Our login may have ended without anything being wrong with the secret."""
    async with hub.running():
        hub.vault.token = "hvs.another"
        await hub.later(ONE_LIFE)

        assert hub.live() == ["first-secret"]


async def test_a_refused_secret_is_asked_for_soon(hub: Hub) -> None:
    """A system that refuses what we have brings the next look forward, and not more often than every 10 s."""
    async with hub.running():
        hub.vault.put("kv/crm", token="second-secret")
        for _ in range(100):
            await hub.secrets.renew(REFS)
        assert hub.live() == ["first-secret"]

        await hub.later(HURRIED + 0.1)
        assert hub.live() == ["second-secret", "first-secret"]
        assert len(hub.vault.calls) == 3, "one at the start, two versions after"


async def test_a_secret_can_be_renewed_while_one_waits(hub: Hub) -> None:
    """As for a model's key that was just refused; many who ask at once are one request."""
    async with hub.running():
        await hub.later(HURRIED)
        hub.vault.put("kv/crm", token="second-secret")
        await asyncio.gather(*(hub.secrets.renew(REFS) for _ in range(10)))

        assert hub.live()[0] == "second-secret"
        assert len(hub.vault.calls) == 3


async def test_everything_missing_is_listed_at_once_with_its_remedy(hub: Hub) -> None:
    """One error names each reference and how to mend it, never a value."""
    refs = [REF, "${vault:kv/none#token}", "${vault:kv/crm#password}", "${env:NOWHERE}"]

    with pytest.raises(MissingSecret) as caught:
        async with hub.running(*refs):
            pass

    assert [str(ref) for ref in caught.value.problems] == refs[1:]
    assert "${vault:kv/none#token} is not there" in str(caught.value)
    assert "${vault:kv/crm#password} has no field 'password'" in str(caught.value)
    assert "${env:NOWHERE} is not set" in str(caught.value)
    assert "first-secret" not in str(caught.value)


async def test_a_store_that_is_away_at_the_start_is_unreachable(hub: Hub) -> None:
    """Nothing is wrong with what a person wrote."""
    hub.vault.down = True

    with pytest.raises(Unreachable, match=r"\$\{vault:kv/crm#token\} cannot be asked for"):
        async with hub.running():
            pass


async def test_an_old_secret_may_be_gone(hub: Hub) -> None:
    """Of [new, old] only the new one has to be there; an old one that comes later counts."""
    pair = [REF, "${vault:kv/old#token}"]
    async with hub.running(pair):
        assert hub.live(pair) == ["first-secret"]

        hub.vault.put("kv/old", token="old-secret")
        await hub.later(AGAIN * (1 + JITTER) + 1)
        assert hub.live(pair) == ["first-secret", "old-secret"]


async def test_a_surprise_does_not_end_the_keeper(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error nobody thought of is told by its kind only, and the secret asked for again."""
    async with hub.running():
        whole = VaultDouble.send

        async def send(*_: object, **__: object) -> None:
            raise RuntimeError("first-secret")

        monkeypatch.setattr(VaultDouble, "send", send)
        await hub.later(ONE_LIFE)
        monkeypatch.setattr(VaultDouble, "send", whole)
        hub.vault.put("kv/crm", token="second-secret")
        await hub.later(AGAIN * (1 + JITTER) + 1)

        assert hub.live()[0] == "second-secret"


async def test_values_are_hidden_from_then_on(hub: Hub) -> None:
    """Both values of a rotation, and what we log in with, are taken out of every later text."""
    hub.vault.put("kv/crm", token="second-secret")
    async with hub.running():
        hub.live()

    hidden = hub.redactor.hide(f"first-secret second-secret {hub.vault.token} {hub.secrets!r} {hub.secrets._remote!r}")
    assert "secret-" not in hidden
    assert hidden.count("***") == 3


async def test_an_approle_logs_in_once_and_again_when_refused() -> None:
    """A token is used while it lives, and replaced before its end or when it is refused."""
    hub = Hub(VAULT_ROLE_ID="the-role", VAULT_SECRET_ID="the-secret-id")
    hub.vault.put("kv/crm", token="first-secret")
    async with hub.running():
        await hub.later(ONE_LIFE)
        assert hub.vault.logins == 1
        hub.vault.token = "hvs.revoked-by-somebody"
        await hub.later(ONE_LIFE)
        assert hub.vault.logins == 2
        for _ in range(12):
            await hub.later(ONE_LIFE)
        assert hub.vault.logins == 3, "an hour is over"
        assert hub.live() == ["first-secret"]


async def test_the_namespace_is_named_and_files_hold_logins(tmp_path: object) -> None:
    """Every request names the namespace; a token may lie in a file that somebody renews."""
    file = tmp_path / "token"  # type: ignore[operator]
    file.write_text("hvs.made-up-root\n")
    hub = Hub(VAULT_TOKEN_FILE=str(file), BAO_NAMESPACE="team-a")
    hub.vault.put("kv/crm", token="first-secret")
    async with hub.running():
        assert hub.live() == ["first-secret"]

    assert {call.headers["x-vault-namespace"] for call in hub.vault.calls} == {"team-a"}


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"VAULT_ADDR": ""}, "set VAULT_ADDR"),
        ({"VAULT_TOKEN": "wrong"}, "may not be read by us"),
        ({"VAULT_ROLE_ID": "the-role", "VAULT_SECRET_ID": "wrong-one"}, "refuses our AppRole"),
        ({"VAULT_ROLE_ID": "the-role"}, "set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID"),
        ({"VAULT_TOKEN_FILE": "/no/such/file"}, "the file of VAULT_TOKEN_FILE cannot be read"),
    ],
)
async def test_what_is_wrong_with_the_login_is_said(environment: dict[str, str], says: str) -> None:
    """The message says what to set; it never repeats what was set."""
    hub = Hub(**environment)
    hub.vault.put("kv/crm", token="first-secret")

    with pytest.raises(MissingSecret, match=says) as caught:
        async with hub.running():
            pass

    assert "wrong-one" not in str(caught.value)


async def test_a_wrong_login_is_refused_whatever_status_says_so() -> None:
    """A real Vault 1.14 answers 500 to a wrong secret id; that is no outage."""
    hub = Hub(VAULT_ROLE_ID="the-role", VAULT_SECRET_ID="wrong-one")
    hub.vault.status, hub.vault.said = 500, b'{"errors":["invalid secret id"]}\n'

    with pytest.raises(MissingSecret, match="refuses our AppRole"):
        async with hub.running():
            pass


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_store_that_asks_for_time_is_away(hub: Hub, status: int) -> None:
    """A sealed, busy or broken store is asked again."""
    hub.vault.status = status

    with pytest.raises(Unreachable, match=f"answered {status}"):
        async with hub.running():
            pass


def test_check_asks_stores_without_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` says what is missing before anything is opened."""
    secrets = Secrets({"VAULT_ADDR": "http://127.0.0.1:9", "VAULT_TOKEN": "t-made-up"}, redactor=Redactor())

    with pytest.raises(Unreachable, match="it cannot be reached"):
        secrets.check([REF])


def test_only_the_newest_passing_values_stay_known() -> None:
    """Tokens that end by themselves do not pile up in the redactor."""
    redactor = Redactor()
    redactor.add("stays-for-ever")
    for number in range(100):
        redactor.add_passing(f"token-number-{number:03}")

    assert redactor.hide("token-number-099 stays-for-ever") == "*** ***"
    assert redactor.hide("token-number-000") == "token-number-000"
