"""
Secrets are written as references, resolved late, and never shown.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from penstock.errors import Invalid
from penstock.redaction import Redactor
from penstock.secrets import MissingSecret, Secret, SecretRef, SecretRefs, Secrets

CANARY = "canary-7f3a9c-secret"


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    token: SecretRefs
    hook: SecretRefs | None = None


def resolver(**environment: str) -> Secrets:
    return Secrets(environment, redactor=Redactor())


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r}".format, "{:>3}".format, lambda s: f"{s}", lambda s: f"{[s]}"],
)
def test_a_secret_never_shows_itself(show: object) -> None:
    """However a secret is printed, it is `***`."""
    shown = show(Secret(CANARY))  # type: ignore[operator]

    assert "***" in shown
    assert "canary" not in shown


def test_a_secret_is_revealed_on_purpose() -> None:
    """`reveal` is the one way to the text; equal texts are equal secrets."""
    assert Secret(CANARY).reveal() == CANARY
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != CANARY


def test_a_secret_is_not_pickled() -> None:
    """No copy of a secret leaves by serialisation."""
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(Secret(CANARY))


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ("${env:ZENDESK_TOKEN}", "env", "ZENDESK_TOKEN"),
        ("${file:/run/secrets/token}", "file", "/run/secrets/token"),
        ("${file:secrets/to-ken.txt}", "file", "secrets/to-ken.txt"),
    ],
)
def test_references_say_where_to_look(text: str, source: str, name: str) -> None:
    """A reference is read, and printed as it was written."""
    ref = SecretRef.parse(text)

    assert (source, name, text) == (ref.source, ref.name, str(ref))


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        "",
        "$TOKEN",
        "${TOKEN}",
        "${env:}",
        "${env:1TOKEN}",
        "${env:TOKEN:-canary-default}",
        "${file:}",
        "${vault:canary}",
        "Bearer ${env:TOKEN}",
        "${env:A}${env:B}",
        "${env:TOKEN}\n",
        7,
        None,
        [],
        ["${env:A}", "${env:B}", "${env:C}"],
        ["${env:A}", CANARY],
    ],
)
def test_a_literal_is_refused_and_not_repeated(text: object) -> None:
    """What is no reference is refused with a hint, without the text: it may be the secret."""
    with pytest.raises(ValueError, match="reference") as caught:
        SecretRefs.parse(text)

    assert "canary" not in str(caught.value)


def test_settings_take_one_reference_or_two() -> None:
    """A field of settings takes a reference or [new, old], and writes it back as it was."""
    settings = Settings.model_validate({"token": "${env:A}", "hook": ["${env:NEW}", "${env:OLD}"]})

    assert [str(ref) for ref in settings.hook or ()] == ["${env:NEW}", "${env:OLD}"]
    assert settings.model_dump(mode="json") == {"token": "${env:A}", "hook": ["${env:NEW}", "${env:OLD}"]}


def test_settings_refuse_a_secret_in_clear() -> None:
    """A literal in settings is a finding with a hint at the right place."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"token": CANARY})

    error = caught.value.errors(include_input=False)[0]
    assert error["loc"] == ("token",)
    assert "write a reference, ${env:NAME}" in error["msg"]


def test_the_schema_marks_secrets() -> None:
    """The JSON Schema of a secret setting tells editors its form."""
    schema = TypeAdapter(SecretRefs).json_schema()

    assert schema["x-secret"] is True
    assert schema["anyOf"][0]["pattern"].startswith("^\\$")


def test_environment_secrets_are_resolved_late() -> None:
    """A variable is read at the first use, and kept until refreshed."""
    environment = {"TOKEN": "first"}
    secrets = Secrets(environment, redactor=Redactor())
    assert secrets.get("${env:TOKEN}").reveal() == "first"

    environment["TOKEN"] = "second"

    assert secrets.get("${env:TOKEN}").reveal() == "first"
    secrets.refresh("${env:TOKEN}")
    assert secrets.get("${env:TOKEN}").reveal() == "second"


def test_of_two_references_the_newest_is_used() -> None:
    """Under rotation we use the new secret ourselves, and believe both."""
    secrets, refs = resolver(NEW="n-secret", OLD="o-secret"), SecretRefs.parse(["${env:NEW}", "${env:OLD}"])

    assert secrets.get(refs).reveal() == "n-secret"
    assert [one.reveal() for one in secrets.all(refs)] == ["n-secret", "o-secret"]


def test_the_old_secret_may_be_gone() -> None:
    """A rotation ends by taking the old secret away; the new one must be there."""
    refs = SecretRefs.parse(["${env:NEW}", "${env:OLD}"])

    assert [one.reveal() for one in resolver(NEW="n-secret").all(refs)] == ["n-secret"]
    with pytest.raises(MissingSecret):
        resolver(OLD="o-secret").all(refs)


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    """A secret mounted as a file is rotated by replacing the file."""
    path, new = tmp_path / "token", tmp_path / "token.new"
    path.write_text("first\n")
    secrets = resolver()
    assert secrets.get(f"${{file:{path}}}").reveal() == "first"

    new.write_text("second\r\n")
    new.replace(path)

    assert secrets.get(f"${{file:{path}}}").reveal() == "second"


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    """The hot path costs one stat, not one read."""
    path = tmp_path / "token"
    path.write_text("first")
    secrets = resolver()
    first = secrets.get(f"${{file:{path}}}")

    assert secrets.get(f"${{file:{path}}}") is first


def test_everything_missing_is_listed_at_once(tmp_path: Path) -> None:
    """One error names each missing reference once, with its remedy."""
    (tmp_path / "empty").write_text("\n")
    wanted = ["${env:NOWHERE}", "${env:BLANK}", "${env:THERE}", f"${{file:{tmp_path}/empty}}", "${file:/no/such/file}"]

    with pytest.raises(MissingSecret) as caught:
        resolver(BLANK=" ", THERE="x-secret").check([*wanted, "${env:NOWHERE}"])

    assert isinstance(caught.value, Invalid)
    assert [str(ref) for ref in caught.value.problems] == [ref for ref in wanted if "THERE" not in ref]
    assert "${env:NOWHERE} is not set: export NOWHERE=… before the start" in str(caught.value)
    assert "${env:BLANK} is empty" in str(caught.value)
    assert "${file:/no/such/file} does not exist" in str(caught.value)


@pytest.mark.parametrize(("content", "says"), [(b"\xff\xfe\x00", "UTF-8"), (b"x" * 70_000, "larger than 64 kB")])
def test_a_wrong_file_is_said_to_be(tmp_path: Path, content: bytes, says: str) -> None:
    """A file that cannot hold a secret is named, its content is not."""
    (tmp_path / "token").write_bytes(content)

    with pytest.raises(MissingSecret, match=says) as caught:
        resolver().get(f"${{file:{tmp_path}/token}}")

    assert "xxx" not in str(caught.value)


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    """A path to a folder is refused with its reason."""
    with pytest.raises(MissingSecret, match="cannot be read"):
        resolver().get(f"${{file:{tmp_path}}}")


def test_resolved_values_are_hidden_from_then_on() -> None:
    """What was resolved once is taken out of every later text."""
    redactor = Redactor()
    Secrets({"TOKEN": CANARY}, redactor=redactor).get("${env:TOKEN}")

    assert redactor.hide(f"token {CANARY}!") == "token ***!"


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another mapping, the environment of the process is read."""
    monkeypatch.setenv("PENSTOCK_TEST_TOKEN", CANARY)

    assert os.environ["PENSTOCK_TEST_TOKEN"] == Secrets(redactor=Redactor()).get("${env:PENSTOCK_TEST_TOKEN}").reveal()
