"""
Kafka's errors in our words.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from penstock.errors import Fenced, Unavailable

BACK_IN = 5.0  # seconds after which to ask a cluster again that could not be used


@contextlib.asynccontextmanager
async def told(what: str, *, within: float) -> AsyncIterator[None]:
    """
    Give *what* the seconds *within*; raises `Fenced` when our part went to another member, else `Unavailable`.
    """
    try:
        async with asyncio.timeout(within):
            yield
    except (CommitFailedError, IllegalStateError) as error:
        raise Fenced(f"{what}: another member has these partitions now; drop what was read from there") from error
    except KafkaError as error:
        raise Unavailable(f"Kafka could not {what}: {reason(error)}", retry_after=BACK_IN) from error
    except TimeoutError as error:
        raise Unavailable(f"Kafka did not {what} within {within:g} s", retry_after=BACK_IN) from error


def reason(error: BaseException) -> str:
    """
    Return what *error* says, by its name when it says nothing.
    """
    text = str(error)
    return text or type(error).__name__
