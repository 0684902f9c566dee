"""
From what ops wrote about a model to what the AI room works with.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pipelines
from penstock.secrets import SecretRefs
from pipelines.declaration import Model
from pipelines.models import model_spec


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("${env:NEW}", ["${env:NEW}"]),
        (("${env:NEW}", "${env:OLD}"), ["${env:NEW}", "${env:OLD}"]),  # both live while a key is rotated
    ],
)
def test_a_key_is_one_reference_or_two(given: object, expected: list[str]) -> None:
    """
    As every secret, a model's key may be [new, old].
    """
    spec = model_spec("small", Model.model_validate({"provider": "openai", "model": "gpt-5-mini", "key": given}))

    assert spec.key == SecretRefs.parse(expected)


def test_two_keys_are_read_from_yaml(tmp_path: Path) -> None:
    """
    The list form is accepted where a declaration is read.
    """
    file = tmp_path / "pipelines.yaml"
    file.write_text('version: 1\nmodels:\n  small: {provider: openai, model: m, key: ["${env:A}", "${env:B}"]}\n')
    loaded = pipelines.load(file)

    assert loaded.findings == []
    assert loaded.declaration is not None
    assert loaded.declaration.models["small"].key == ("${env:A}", "${env:B}")
