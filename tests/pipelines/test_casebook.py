"""
Test files are read with the place of every case, and what is wrong in them is said with its place.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import Invalid
from pipelines.casebook import find_files, read_cases

GOOD = """\
pipeline: ticket-summary
cases:
  - name: first
    given: {data: {subject: Hello}}
    expect: {verdict: delivered}
  - name: second
    given: ticket.json
    model_says: [{a: 1}, {a: 2}]
    expect:
      spend_at_most: 0.002 USD
"""


def test_a_case_knows_its_place(tmp_path: Path) -> None:
    """
    Cases carry the line they begin on and the line of what is expected.
    """
    file = tmp_path / "x.test.yaml"
    file.write_text(GOOD)

    first, second = read_cases(file)

    assert ("first", 3, 5) == (first.name, first.line, first.expect_line)
    assert ("second", 6, 9) == (second.name, second.line, second.expect_line)
    assert 2_000 == second.words.expect.spend_at_most
    assert f"{file}:9" == second.place


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("verdict: delivered", "verdict: delivred"), ":5: cases.0.expect.verdict:"),
        (GOOD.replace("    expect: {verdict", "    expects: {verdict"), ":3: cases.0: Field required 'expect'"),
        (GOOD.replace("name: second", "nam: second"), ":6: cases.1: Field required 'name'"),
        (GOOD.replace("0.002 USD", "0.002"), ":10: cases.1.expect.spend_at_most:"),
        (GOOD + "pipeline: again\n", ":11:1: "),
        ("- a\n- b\n", ":1:1: a test file is a mapping"),
        ("cases: [\n", "x.test.yaml:"),
        ("\tpipeline: x\n", "x.test.yaml:1:"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    """
    What is wrong in a test file is one `Invalid` with file and line.
    """
    file = tmp_path / "x.test.yaml"
    file.write_text(text)

    with pytest.raises(Invalid) as caught:
        read_cases(file)

    assert says in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_files_are_found_below_tests(tmp_path: Path) -> None:
    """
    Without paths every `*.test.yaml` below `tests/` is taken, in order; a missing path is an error.
    """
    for name in ("b.test.yaml", "a.test.yaml", "deep/c.test.yaml", "lookups.yaml"):
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / name).write_text(GOOD)

    found = [file.name for file in find_files([], tmp_path)]

    assert ["a.test.yaml", "b.test.yaml", "c.test.yaml"] == found
    with pytest.raises(Invalid, match="does not exist"):
        find_files([tmp_path / "nowhere"], tmp_path)
