"""
What answers say of limits, in the shapes that the vendors' documentation shows.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai.providers.quotas import MOST, said, span
from ledger.pacing import Quota

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
OPENAI = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-remaining-tokens": "198550",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-reset-tokens": "435ms",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-01-05T09:00:01Z",
    "anthropic-ratelimit-tokens-limit": "48000",
    "anthropic-ratelimit-tokens-remaining": "48000",
    "anthropic-ratelimit-tokens-reset": "2026-01-05T09:00:00Z",
    "anthropic-ratelimit-input-tokens-limit": "40000",
    "anthropic-ratelimit-input-tokens-remaining": "0",
    "anthropic-ratelimit-input-tokens-reset": "2026-01-05T09:00:07Z",
    "anthropic-ratelimit-output-tokens-limit": "8000",
    "anthropic-ratelimit-output-tokens-remaining": "8000",
    "anthropic-ratelimit-output-tokens-reset": "2026-01-05T09:00:00Z",
}


def test_what_openai_and_azure_say() -> None:
    """Requests and tokens a minute; Azure leaves one of them out at times."""
    found = said(OPENAI, NOW)
    alone = said({"x-ratelimit-limit-tokens": "10000", "x-ratelimit-remaining-tokens": "9000"}, NOW)

    assert found is not None and alone is not None
    assert (found.quota, found.used_up) == (Quota(requests=500, tokens=200_000), 0)
    assert alone.quota == Quota(tokens=10_000)


def test_what_anthropic_says() -> None:
    """Input and output for themselves; with nothing left, to wait a little, however far a whole minute is."""
    found = said(ANTHROPIC, NOW)

    assert found is not None
    assert found.quota == Quota(requests=50, input_tokens=40_000, output_tokens=8_000)
    assert found.used_up == 5


def test_a_limit_by_the_day_is_none_by_the_minute() -> None:
    """OpenAI's lower tiers tell a day's requests under the same name; their reset is far away."""
    daily = OPENAI | {"x-ratelimit-limit-requests": "200", "x-ratelimit-reset-requests": "7m12s"}
    found = said(daily, NOW)

    assert found is not None
    assert found.quota == Quota(tokens=200_000)


@pytest.mark.parametrize("headers", [{}, {"retry-after": "3"}, {"x-ratelimit-limit-requests": "0"}])
def test_nothing_said(headers: dict[str, str]) -> None:
    """Whoever says nothing of use has no pace."""
    assert said(headers, NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8.64s", 8.64), ("6m0s", 360.0), ("360ms", 0.36), ("1h2m3s", 3723.0), ("", None), ("soon", None), ("5", None)],
)
def test_spans(text: str, seconds: float | None) -> None:
    """As OpenAI writes them, and nothing else."""
    assert span(text) == (None if seconds is None else pytest.approx(seconds))


@given(st.dictionaries(st.sampled_from([*OPENAI, *ANTHROPIC]), st.text(max_size=24), max_size=12))
def test_odd_headers_are_never_an_error(headers: dict[str, str]) -> None:
    """Whatever a server or a proxy says, an answer is read; what is believed can be kept."""
    found = said(headers, NOW)

    if found is not None:
        quota = found.quota
        assert all(0 <= each <= MOST for each in (quota.requests, quota.tokens, quota.input_tokens))
        assert 0 <= found.used_up <= 5
