"""
LiteLLM's router, told the limits of its deployment, with its retries: run by the Python of an environment of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
from typing import Any

TASKS = 64
ROOM = 300  # tokens


async def _run(url: str, account: str, events: int, requests: int, tokens: int) -> None:
    litellm: Any = importlib.import_module("litellm")  # not there where types are checked
    litellm.suppress_debug_info = True
    params = {"model": "openai/gpt-5-mini", "api_base": f"{url}/v1", "api_key": account, "rpm": requests, "tpm": tokens}
    router = litellm.Router(
        model_list=[{"model_name": "small", "litellm_params": params}],
        routing_strategy="usage-based-routing-v2",
        enable_pre_call_checks=True,
        num_retries=8,
        retry_after=1,
        cooldown_time=1,
    )
    numbers = iter(range(events))

    async def task() -> None:
        for number in numbers:
            text = f"REF-{number:07} " + "the parcel has not arrived and nobody answers " * 20
            while True:
                try:
                    await router.acompletion(
                        model="small", messages=[{"role": "user", "content": text}], max_tokens=ROOM
                    )
                    break
                except Exception:  # noqa: BLE001 - whatever it is, an event is not given up
                    await asyncio.sleep(1)

    await asyncio.gather(*(task() for _ in range(TASKS)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("account")
    parser.add_argument("--model", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(_run(given.model, given.account, given.events, given.requests, given.tokens))
