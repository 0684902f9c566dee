"""
Tokens that are over, doors that are shut for now, and a day whose calls are used.
"""

from __future__ import annotations

import pytest

from penstock import errors
from penstock.clock import ManualClock
from tests.connectors.salesforce.test_salesforce import Org, connect, org

__all__ = ["org"]  # a fixture


async def test_a_token_that_is_over(org: Org) -> None:
    """The address that says who we are answers 403, not 401: the stream signs in once more and goes on."""
    cursor = await org.start()
    org.double.over = True
    account = org.double.made("Account", Name="Nadia Ltd")
    found, _ = await org.read(cursor, 1)
    org.double.over = True

    assert [event.subject for event in found] == [account["Id"]]
    assert (await org.crm.health(org.call())).state == "ok"


async def test_a_token_that_was_just_given_is_refused(org: Org) -> None:
    """Then it is no token that is over: it is told, after no more than three requests, and the next one signs in anew."""
    await org.crm.health(org.call())
    org.double.refuses = True
    before = len(org.double.calls)
    health = await org.crm.health(org.call())
    requests = len(org.double.calls) - before
    org.double.refuses = False

    assert health.state == "auth"
    assert requests <= 3
    assert (await org.crm.health(org.call())).state == "ok"


async def test_a_door_that_is_shut_for_now(org: Org) -> None:
    """An outage says nothing of the secret, whatever JSON it comes with."""
    body = {"error": "server_error", "error_description": "maintenance"}
    await org.fault(kind="status", status=503, body=body, match="oauth2/token")
    with pytest.raises(errors.Unavailable) as raised:
        await org.crm.lookups["account"].fetch("001000000000001AAA", org.call(), 1)

    assert not isinstance(raised.value, errors.AuthFailed)


async def test_the_rest_of_a_day_stays_for_others(org: Org) -> None:
    """Beyond our share nothing is asked for an hour; then one call looks whether another day has begun."""
    clock = ManualClock()
    crm = connect(org.url, clock=clock)
    slow = Org(org.double, org.url, "", crm, clock)
    account = org.double.made("Account", Name="Nadia Ltd")
    org.double.used, org.double.most = 990, 1_000
    outcomes: list[str | int] = []
    for minutes in (0, 1, 1, 1, 60, 1, 1):
        await clock.advance(minutes * 60.0)
        try:
            await crm.lookups["account"].fetch(account["Id"], slow.call(), 1)
            outcomes.append("asked")
        except errors.Unavailable as error:
            outcomes.append(round((error.retry_after or 0) / 60))
    org.double.used = 5
    await clock.advance(3600.0)
    for _ in range(2):
        await crm.lookups["account"].fetch(account["Id"], slow.call(), 1)
    await crm.close()

    assert outcomes == ["asked", 59, 58, 57, "asked", 59, 58]
