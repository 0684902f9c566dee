"""
Amounts with units: what is read, what is refused and in which words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock import units
from penstock.units import (
    Amount,
    Duration,
    DurationRange,
    Percent,
    Rate,
    Share,
    Spend,
    StartingPoint,
    TokenRange,
    Tokens,
)

MONEY = "is not an amount of money: write for example '0.02 USD'"
SPEND = "is not money per period: write for example '25 USD/day' or '600 USD/month'"
DURATION = "is not a duration: write a number and ms, s, m, h or d, for example '20s'"
LONG = "is out of range: durations are more than 0 and at most 400d"
TOKENS = "is not a number of tokens: write for example '2000' or '200k'"
MANY = "is out of range: tokens are more than 0 and at most 10000k"
RANGE = "is not a range of tokens: write for example '60..120', '..500' or '300..'"
PERCENT = "is not a percentage: write for example '50%'"
SHARE = "is not a share: write a percentage from '0%' to '100%', for example '2%'"
START = (
    "is no starting point: write 'now', 'oldest', a span back like '2h', "
    "or a time with its zone like '2026-11-24T08:00:00Z'"
)
RATE = "is not a rate: write a number per second, minute, hour or day, like '20/hour'"

NO_STRING: list[Any] = [None, True, 1.5, [], {}]


class Amounts(BaseModel):
    """
    One field of each kind.
    """

    model_config = ConfigDict(extra="forbid")

    amount: Amount | None = None
    spend: Spend | None = None
    duration: Duration | None = None
    durations: DurationRange | None = None
    tokens: Tokens | None = None
    range: TokenRange | None = None
    percent: Percent | None = None
    share: Share | None = None
    rate: Rate | None = None
    start: StartingPoint | None = None


CHECK = jsonschema_rs.validator_for(Amounts.model_json_schema())

READ = [
    ("amount", "0.02 USD", 20_000),
    ("amount", "0.000001 USD", 1),
    ("amount", "0 USD", 0),
    ("amount", "25 USD", 25_000_000),
    ("amount", "0.29 USD", 290_000),  # as a float it would be 289,999
    ("amount", "999999999.999999 USD", 999_999_999_999_999),
    ("spend", "25 USD/day", Spend(25_000_000, "day")),
    ("spend", "600.5 USD/month", Spend(600_500_000, "month")),
    ("duration", "20s", 20.0),
    ("duration", "250ms", 0.25),
    ("duration", "1.5h", 5400.0),
    ("duration", "5m", 300.0),
    ("duration", "400d", 34_560_000.0),
    ("durations", "2s..60s", DurationRange(2.0, 60.0)),
    ("durations", "500ms..1m", DurationRange(0.5, 60.0)),
    ("durations", "2s..2s", DurationRange(2.0, 2.0)),
    ("durations", "20s", DurationRange(20.0, 200.0)),  # one duration stretches to ten times itself
    ("tokens", 2000, 2000),
    ("tokens", "2000", 2000),
    ("tokens", "200k", 200_000),
    ("tokens", "10000k", 10_000_000),
    ("range", "60..120", TokenRange(60, 120)),
    ("range", "..500", TokenRange(0, 500)),
    ("range", "300..", TokenRange(300, None)),
    ("range", "500", TokenRange(0, 500)),  # one number is the ceiling
    ("range", 500, TokenRange(0, 500)),
    ("range", "1k..2k", TokenRange(1000, 2000)),
    ("percent", "50%", 0.5),
    ("percent", "0.5%", 0.005),
    ("percent", "100%", 1.0),
    *(("share", text, value) for text, value in [("0%", 0.0), ("2%", 0.02), ("0.000001%", 1e-8), ("100%", 1.0)]),
    ("rate", "20/hour", Rate(20, 3600.0)),
    ("rate", "1/second", Rate(1, 1.0)),
    ("rate", "100/minute", Rate(100, 60.0)),
    ("rate", "5/day", Rate(5, 86_400.0)),
    *(("start", text, StartingPoint(text)) for text in ["now", "oldest", "2h", "1.5d", "2026-11-24T08:00:00Z"]),
    *(("start", text, StartingPoint(text)) for text in ["2026-11-24T08:00+01:00", "2026-11-24T08:00:00-05:30"]),
]

REFUSED = [
    *(("amount", value, MONEY) for value in ["0.02", "USD", "$5", "5 EUR", "5 usd", "5USD", " 5 USD", "5 USD ", "-5 USD"]),
    *(("amount", value, MONEY) for value in ["1e3 USD", "1,000 USD", "1_000 USD", "0.0000001 USD", ".5 USD", "٣ USD", 5]),
    ("amount", "9999999999 USD", MONEY),  # more would not fit the ledger's integers
    ("amount", "5 USD\n", MONEY),
    *(("spend", value, SPEND) for value in ["25 USD", "25 USD/week", "25 USD / day", "25/day", "day", 25]),
    *(("duration", value, DURATION) for value in ["20", "20 s", "20sec", "1h30m", "-1s", "s", "٣s", "1e3s", "inf", 20]),
    *(("duration", value, LONG) for value in ["0s", "0.0ms", "401d", "999999999h"]),
    *(("durations", value, DURATION) for value in ["2..60s", "2s..", "..2s", "2s-60s", "1s..2s..3s", ""]),
    ("durations", "0s..5s", LONG),
    ("durations", "60s..2s", "runs backwards: write the shorter duration first, for example '2s..60s'"),
    *(("tokens", value, TOKENS) for value in ["2,000", "2_000", "2K", "2m", "-1", "1.5k", "", "٣", "9" * 5000]),
    *(("tokens", value, MANY) for value in [0, "0k", "10001k", 10_000_001]),
    *(("range", value, RANGE) for value in ["", ".."]),
    *(("range", value, TOKENS) for value in ["60-120", "a..b", "1..2..3", "60...120", "60 .. 120"]),
    *(("range", value, MANY) for value in ["0", "0..5", "..0", 0]),
    ("range", "120..60", "runs backwards: write the smaller number first, for example '60..120'"),
    *(("percent", value, PERCENT) for value in ["0%", "101%", "50", "50 %", "-1%", "0.5", "1e1%", 0.5]),
    *(("share", value, SHARE) for value in ["102%", "100.1%", "2", "2 %", "-1%", "0.02", "1e1%", 0.02]),
    *(("rate", value, RATE) for value in ["0/hour", "20/week", "20 / hour", "20", "1.5/hour", "hour", 20]),
    *(("start", value, START) for value in ["", "NOW", "earliest", "2", "2h ago", "2026-11-24", "2026-11-24 08:00Z",
                                            "2026-11-24T08:00:00", "2026-11-24T08:00:00z", "٣h", 2]),
    *((field, value, words) for field, words in [("amount", MONEY), ("spend", SPEND), ("duration", DURATION),
                                                 ("durations", DURATION), ("tokens", TOKENS), ("range", RANGE),
                                                 ("percent", PERCENT), ("share", SHARE), ("rate", RATE), ("start", START)]
      for value in NO_STRING[1:]),
]  # fmt: skip


@pytest.mark.parametrize(("field", "written", "expected"), READ)
def test_what_people_write_is_read_exactly(field: str, written: Any, expected: Any) -> None:
    """
    Amounts in the documented spelling become exact values, and the editor's schema takes the same text.
    """
    assert expected == getattr(Amounts.model_validate({field: written}), field)
    assert CHECK.is_valid({field: written})


@pytest.mark.parametrize(("field", "written", "words"), REFUSED)
def test_anything_else_is_refused_with_the_remedy(field: str, written: Any, words: str) -> None:
    """
    What is not in the documented spelling is refused; the message repeats it and shows what to write.
    """
    with pytest.raises(ValidationError) as refused:
        Amounts.model_validate({field: written})

    messages = [error["msg"].removeprefix("Value error, ") for error in refused.value.errors()]
    assert [True] == [message.endswith(words) for message in messages]


@pytest.mark.parametrize(
    ("field", "written"), [(field, written) for field, written, words in REFUSED if words not in (LONG, MANY)]
)
def test_the_editors_schema_refuses_the_same(field: str, written: Any) -> None:
    """
    An editor marks what the check would refuse, but for bounds that a pattern cannot know.
    """
    backwards = isinstance(written, str) and re.fullmatch(r"120\.\.60|60s\.\.2s|0%|101%|0/hour", written)

    assert bool(backwards) == CHECK.is_valid({field: written})


@pytest.mark.parametrize(
    ("value", "text"),
    [(Rate(20, 3600.0), "20/hour"), (Spend(5, "day"), "0.000005 USD/day"), (TokenRange(1, 2), "1..2")],
)
def test_a_value_that_was_read_is_taken_as_it_is(value: Any, text: str) -> None:
    """
    A value made in code passes where its text would.
    """
    assert value == type(value)._read(value) == type(value)._read(text)


@given(st.integers(0, 999_999_999_999_999))
def test_money_is_exact(micro: int) -> None:
    """
    Every amount comes back to the micro-USD.
    """
    assert micro == units.amount(f"{micro // units.MICRO}.{micro % units.MICRO:06d} USD")


READERS: list[Callable[[Any], Any]] = [
    units.amount,
    units.duration,
    units.tokens,
    units.percent,
    units.share,
    Spend.parse,
    DurationRange.parse,
    TokenRange.parse,
    Rate.parse,
]


@given(
    st.sampled_from(READERS),
    st.one_of(
        st.text(alphabet="0123456789.k%/smhd USDaymonthr-_e٣", max_size=20),
        st.integers(),
        st.floats(),
        st.none(),
        st.booleans(),
        st.lists(st.integers(), max_size=1),
    ),
)
def test_any_value_is_read_or_refused(read: Callable[[Any], Any], value: Any) -> None:
    """
    Nothing a YAML file can hold makes a reader fail in another way than by refusing.
    """
    try:
        read(value)
    except ValueError as error:
        assert repr(value)[:10] in str(error) or ".." in str(value)


DURATIONS = st.one_of(
    st.integers(1, 10**8).map(lambda ms: ms / 1000), st.sampled_from([0.25, 1.0, 90.0, 3600.0, 86_400.0, 34_560_000.0])
)


@given(
    st.one_of(
        st.builds(Spend, st.integers(0, 10**15 - 1), st.sampled_from(["day", "month"])),
        st.builds(Rate, st.integers(1, 10**9 - 1), st.sampled_from([1.0, 60.0, 3600.0, 86_400.0])),
        st.builds(lambda low, more: TokenRange(low, low + more), st.integers(0, 10**6), st.integers(1, 10**6)),
        st.builds(lambda low: TokenRange(low, None), st.integers(1, 10**7)),
        st.lists(DURATIONS, min_size=2, max_size=2).map(lambda both: DurationRange(*sorted(both))),
    )
)
def test_what_is_shown_can_be_written(value: Any) -> None:
    """
    A value printed for people reads back as itself.
    """
    assert value == type(value).parse(str(value))


@given(DURATIONS)
def test_a_duration_shown_can_be_written(seconds: float) -> None:
    """
    A duration printed for people reads back as itself.
    """
    assert seconds == pytest.approx(units.duration(units.span(seconds)))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("now", "now"),
        ("oldest", "oldest"),
        ("2h", 1_000_000_000_000 - 7_200_000),
        ("1970-01-01T01:00:01+01:00", 1_000),
        ("2001-09-09T01:46:40Z", 1_000_000_000_000),
    ],
)
def test_a_starting_point_is_a_time_or_an_end(written: str, expected: Any) -> None:
    """
    A span is counted back from now, a time is in the zone it names.
    """
    assert expected == StartingPoint.parse(written).at(1_000_000_000_000)


def test_a_starting_point_is_a_time_there_is() -> None:
    """
    The thirtieth of February is refused where it is written.
    """
    with pytest.raises(ValueError, match="'2026-02-30T08:00:00Z' is no time: day is out of range for month"):
        StartingPoint.parse("2026-02-30T08:00:00Z")
