"""
Keeps several processes of one `penstock run` alive, and ends with the last of them.

    ended = Keeper(3).keep()
    if isinstance(ended, int):
        return ended            # in the process that keeps the others: the exit code of the whole
    ...                         # in each of the others: work, with the `Seat` it was given

The first starts alone, and the others once it has opened everything: what is wrong with a hub is said once.
A process that ends unasked is started again. It is made by `fork`, so that all of them run the same
declaration, whatever became of the file, and share the memory of what was loaded. For that the
keeper opens nothing of the hub and has no threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass
from types import FrameType

log = logging.getLogger(__name__)

PAUSES = (1.0, 30.0)  # seconds until a process is started again: the first, then twice as long, at most
STEADY = 60.0  # seconds a process lives after which the next pause is the first again
_ASKS = (signal.SIGTERM, signal.SIGINT)
_OPENED, _UP = b"o", b"u"
_BY_SIGNAL = 128  # what a shell adds to the number of the signal that ended a process


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """
    The place of one process among those of a run.
    """

    number: int
    """From 1; the first takes the deliveries."""
    of: int
    channel: int
    """Open as long as both this process and its keeper live."""
    voice: int
    """One byte for all who start: whoever takes it may say why it cannot."""
    proven: bool
    """Whether this seat's process was up before, and this one replaces it."""
    began: int
    """UTC ms at which the run began."""

    def watch(self) -> None:
        """
        Ask this process to stop once nobody keeps it any more; called in its event loop.
        """
        asyncio.get_running_loop().add_reader(self.channel, self._alone)

    def opened(self) -> None:
        """
        Tell the keeper that all there was to open is open.
        """
        self._tell(_OPENED)

    def up(self) -> None:
        """
        Tell the keeper that work goes on.
        """
        self._tell(_UP)

    def may_complain(self) -> bool:
        """
        Say whether this process prints why it ends: of those that cannot start, one does.
        """
        return self.proven or os.read(self.voice, 1) != b""

    def _tell(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody is there, and `watch` sees that
            os.write(self.channel, what)

    def _alone(self) -> None:
        asyncio.get_running_loop().remove_reader(self.channel)
        log.warning("the process that kept this one is gone: it stops")
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(eq=False)
class _Kept:
    """
    What the keeper knows of one process.
    """

    number: int
    pid: int = 0
    channel: socket.socket | None = None
    """Ends when the process does, however that comes."""
    since: float = 0.0
    due: float | None = None
    """When it is to be started, in monotonic seconds; None while it runs, and until it may."""
    pause: float = 0.0
    """The latest one before it was started again."""
    proven: bool = False
    """Whether it was up once."""
    asked: bool = False
    """Whether it was asked to stop."""

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
            self.channel = None


class Keeper:
    """
    The process a person started; it does none of the work.
    """

    def __init__(self, count: int, *, door: socket.socket | None = None, pauses: tuple[float, float] = PAUSES) -> None:
        """
        Keep *count* processes; the first takes deliveries at *door*, which stays open while it is replaced.
        """
        self._pauses = pauses
        self._began = time.time_ns() // 1_000_000
        self._kept = [_Kept(number) for number in range(1, count + 1)]
        self._door = door
        self._stopping = False
        self._code = 0
        self._selector = selectors.DefaultSelector()
        self._bell, self._rung = socket.socketpair()
        self._voice, filling = os.pipe()
        os.write(filling, b"!")
        os.close(filling)

    def keep(self) -> Seat | int:
        """
        Return in each process its seat; in this one, when all have ended, the exit code of the whole.
        """
        self._prepare()
        while True:
            if self._stopping:
                self._stop()
            elif seat := self._start_due():
                return seat
            if self._stopping and not any(kept.pid for kept in self._kept):
                return self._code
            self._wait()

    def _prepare(self) -> None:
        for end in (self._bell, self._rung):
            end.setblocking(False)
        self._selector.register(self._rung, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        for number in _ASKS:
            signal.signal(number, self._ask)
        self._kept[0].due = 0.0
        gc.freeze()  # what no collection looks at stays shared

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    # ---- starting ---------------------------------------------------------------------------

    def _start_due(self) -> Seat | None:
        for kept in self._kept:
            if kept.due is not None and kept.due <= time.monotonic() and (seat := self._start(kept)):
                return seat
        return None

    def _start(self, kept: _Kept) -> Seat | None:
        """
        Start one process; return its seat there, and None here.
        """
        kept.since, kept.due = time.monotonic(), None
        ours, theirs = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, _ASKS)  # none may come before the new process can take it
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            self._again(kept, f"cannot be started: {error}")
            pid = -1
        if pid == 0:
            ours.close()
            return self._become(kept, theirs.detach())  # closed by nobody but the end of the process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKS)
        theirs.close()
        if pid > 0:
            kept.pid, kept.channel = pid, ours
            self._selector.register(ours, selectors.EVENT_READ, kept)
        return None

    def _become(self, kept: _Kept, channel: int) -> Seat:
        """
        Be a process that works: nothing of the keeper stays but what its seat has.
        """
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes to all; the keeper passes it on
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKS)
        self._selector.close()
        self._bell.close()
        self._rung.close()
        for other in self._kept:
            other.close()
        if self._door is not None and kept.number > 1:
            self._door.close()
        return Seat(
            number=kept.number,
            of=len(self._kept),
            channel=channel,
            voice=self._voice,
            proven=kept.proven,
            began=self._began,
        )

    # ---- what becomes of them ---------------------------------------------------------------

    def _wait(self) -> None:
        dues = [kept.due for kept in self._kept if kept.due is not None]
        wait = max(0.0, min(dues) - time.monotonic()) if dues else None
        for key, _ in self._selector.select(wait):
            if key.fileobj is self._rung:
                self._rung.recv(4096)
            else:
                self._hear(key.data)

    def _hear(self, kept: _Kept) -> None:
        assert kept.channel is not None
        said = kept.channel.recv(64)
        if not said:
            self._ended(kept)
            return
        kept.proven = kept.proven or _UP in said
        if _OPENED in said:
            for other in self._kept:
                if not other.since:
                    other.due = 0.0

    def _ended(self, kept: _Kept) -> None:
        assert kept.channel is not None
        self._selector.unregister(kept.channel)
        kept.close()
        _, status = os.waitpid(kept.pid, 0)
        kept.pid, code = 0, os.waitstatus_to_exitcode(status)
        if self._stopping:
            if code != 0 and not (kept.asked and code == -signal.SIGTERM):
                self._code = self._code or (code if code > 0 else _BY_SIGNAL - code)
        elif code > 0 and not kept.proven:
            self._stopping, self._code = True, code
        else:
            by = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            self._again(kept, by)

    def _again(self, kept: _Kept, why: str) -> None:
        now, (first, longest) = time.monotonic(), self._pauses
        steady = now - kept.since >= STEADY
        kept.pause = first if steady or not kept.pause else min(2 * kept.pause, longest)
        kept.due = now + kept.pause
        log.warning("process %d %s; it is started again in %g s", kept.number, why, kept.pause)

    def _stop(self) -> None:
        if self._door is not None:
            self._door.close()
        for kept in self._kept:
            kept.due = None
            if kept.pid and not kept.asked:
                kept.asked = True
                os.kill(kept.pid, signal.SIGTERM)
