"""
An event loop with a virtual clock: no thread, no file descriptor; the seed chooses what runs next.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from random import Random
from typing import Any

from tests.engine.simulation.process import CURRENT, Process

LATE = 0.002  # seconds a timer may fire late at most


class Stuck(AssertionError):
    """
    Nothing can ever run again, and what was waited for did not happen.
    """


class NumberedTask(asyncio.Task[Any]):
    """
    A task whose place in a set does not depend on its address.
    """

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **more: Any) -> None:
        self.number = number
        super().__init__(coro, **more)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class Step:
    """
    Something to do, now or later: `asyncio.Handle`, as small as it goes.
    """

    __slots__ = ("args", "callback", "context", "gone")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context
        self.gone = False

    def cancel(self) -> None:
        """
        Do it never.
        """
        self.gone = True

    def cancelled(self) -> bool:
        """
        Return whether it is never done.
        """
        return self.gone


class VirtualLoop(asyncio.BaseEventLoop):
    """
    Time passes only when nothing is ready; what is ready runs in an order drawn by *random*.
    """

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._now = 0.0
        self._pool: list[Step] = []
        self._timers: list[tuple[float, int, Step]] = []
        self._timed = 0
        self._made = 0
        self._fate: Callable[[Process], None] = lambda _process: None
        self.steps = 0
        self.set_task_factory(self._task)

    def time(self) -> float:
        """
        Return virtual seconds since the beginning.
        """
        return self._now

    def on_fate(self, fate: Callable[[Process], None]) -> None:
        """
        Call *fate* when a process comes to its `fate_at`.
        """
        self._fate = fate

    def thaw(self, process: Process) -> None:
        """
        Let a frozen process run on: it believes that no time has passed.
        """
        process.state = "runs"
        self._pool.extend(process.kept)
        process.kept.clear()

    def _task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, *, context: Context | None = None, **_more: Any
    ) -> asyncio.Task[Any]:
        self._made += 1
        task = NumberedTask(self._made, coro, loop=loop, context=context)
        process = context.get(CURRENT) if context is not None else CURRENT.get()
        if process is not None:
            process.tasks.append(task)
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Step:
        """
        Do *callback* among what is ready, in no order.
        """
        step = Step(callback, args, context)
        self._pool.append(step)
        return step

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Step:
        """
        Do *callback* once the virtual time is *when*.
        """
        step = Step(callback, args, context)
        self._timed += 1
        heapq.heappush(self._timers, (when, self._timed, step))
        return step

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Step:
        """
        Do *callback* after *delay* virtual seconds.
        """
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        pool, draw = self._pool, self._random.random
        if not pool:
            self._pass_time()
        while pool and not self._stopping:  # type: ignore[attr-defined]
            place = int(draw() * len(pool))
            step, pool[place] = pool[place], pool[-1]
            pool.pop()
            if not step.gone:
                self._do(step)

    def _do(self, step: Step) -> None:
        process = step.context.get(CURRENT)
        self.steps += 1
        if process is not None:
            process.steps += 1
            if process.steps == process.fate_at:
                self._fate(process)
            if process.state != "runs":
                process.kept.append(step)
                return
        try:
            step.context.run(step.callback, *step.args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 # as every event loop does
            self.call_exception_handler({"message": f"{step.callback!r} failed", "exception": error})

    def _pass_time(self) -> None:
        """
        Move to the next timer, and take what falls due with it.
        """
        timers = self._timers
        while timers and timers[0][2].gone:
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nothing is ready and no timer is set")
        self._now = max(self._now, timers[0][0] + self._random.random() * LATE)
        while timers and timers[0][0] <= self._now:
            self._pool.append(heapq.heappop(timers)[2])

    def _write_to_self(self) -> None:
        """
        Nobody sleeps, so nobody has to be woken.
        """

    def _process_events(self, _events: object) -> None:
        """
        There is no input.
        """
