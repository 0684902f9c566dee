"""
References resolved to secrets: read late, kept, told to the redactor, read again when a file changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path

from penstock.clock import Clock, SystemClock
from penstock.errors import Invalid, Unreachable
from penstock.http import Http
from penstock.redaction import LIVE, Redactor
from penstock.secrets.errors import MissingSecret, SecretAway, listed
from penstock.secrets.references import SecretRef, SecretRefs
from penstock.secrets.remote import Remote
from penstock.secrets.stores.contract import NotGiven
from penstock.secrets.values import Secret

LARGEST_FILE = 64 * 1024  # bytes; a secret is never longer, a wrong path often is

_Stamp = tuple[int, int, int]


class Secrets:
    """
    Resolves references. Values are kept; a file's value is read again when the file has changed.

    What a store keeps has to be fetched with `load`, `renewed` or `check`; `get` and `all` never wait for a network.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        redactor: Redactor = LIVE,
        clock: Clock | None = None,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._redactor = redactor
        self._kept: dict[SecretRef, tuple[_Stamp | None, Secret]] = {}
        self._remote = Remote(self._environment, clock or SystemClock(), redactor)

    def get(self, ref: str | SecretRef | SecretRefs) -> Secret:
        """
        Return the secret *ref* leads to, of several the newest; raises `MissingSecret`.

        Raises `SecretAway` when its store has not given it, or not for too long.
        """
        wanted = _one(ref)
        if wanted.remote:
            return self._remote.values(wanted)[0]
        stamp, read = self._source(wanted)
        kept = self._kept.get(wanted)
        if kept is None or kept[0] != stamp:
            text = read()
            self._redactor.add(text)
            kept = self._kept[wanted] = (stamp, Secret(text))
        return kept[1]

    def all(self, refs: SecretRef | SecretRefs) -> tuple[Secret, ...]:
        """
        Return every live value of *refs*, the newest first. Only the newest has to be there.

        A store may give two for one reference: the secret and, for a while after a rotation, the one before.
        """
        several = refs.refs if isinstance(refs, SecretRefs) else (refs,)
        if len(several) == 1 and not several[0].remote:
            return (self.get(several[0]),)
        found = [*self._live(several[0])]
        for ref in several[1:]:
            with contextlib.suppress(MissingSecret, SecretAway):
                found += self._live(ref)
        return tuple(dict.fromkeys(found))

    def _live(self, ref: SecretRef) -> tuple[Secret, ...]:
        return self._remote.values(ref) if ref.remote else (self.get(ref),)

    def check(self, refs: Iterable[str | SecretRef | SecretRefs]) -> None:
        """
        Resolve all of *refs* now; raises one `MissingSecret` that lists everything missing, or `Unreachable`.

        Stores are asked; not to be called in an event loop when there are any.
        """
        wanted = [_several(ref) for ref in refs]
        if any(ref.remote for several in wanted for ref in several):
            asyncio.run(self.load(wanted))
            return
        self._judge(wanted, {})

    async def load(self, refs: Iterable[str | SecretRef | SecretRefs], *, http: Http | None = None) -> None:
        """
        Do as `check` inside an event loop, over *http*.
        """
        wanted = [_several(ref) for ref in refs]
        self._judge(wanted, await self.problems(wanted, http=http))

    async def problems(self, refs: Iterable[SecretRefs], *, http: Http | None = None) -> dict[SecretRef, NotGiven]:
        """
        Fetch what stores keep of *refs*; return what cannot be had and why.
        """
        remote = [ref for several in refs for ref in several if ref.remote]
        if not remote:
            return {}
        async with contextlib.AsyncExitStack() as stack:
            asking = await stack.enter_async_context(self._remote.asking(http or await _own_way(stack)))
            return await self._remote.load(remote, asking)

    @contextlib.asynccontextmanager
    async def renewed(self, refs: Iterable[SecretRefs], *, http: Http) -> AsyncIterator[None]:
        """
        Load *refs*, and renew what stores keep of them as long as this lasts; raises as `load` does.
        """
        wanted = list(refs)
        remote = [ref for several in wanted for ref in several if ref.remote]
        if not remote:
            yield
            return
        async with self._remote.asking(http) as asking:
            self._judge(wanted, await self._remote.load(remote, asking))
            async with self._remote.renewing(asking):
                yield

    def _judge(self, wanted: Iterable[SecretRefs], problems: Mapping[SecretRef, NotGiven]) -> None:
        """
        Raise what *problems* and the environment ask for; an old secret may be gone.
        """
        needed = [refs.newest for refs in wanted]
        lost = {ref: problems[ref] for ref in needed if ref in problems}
        for ref in needed:
            if not ref.remote:
                try:
                    self.get(ref)
                except MissingSecret as error:
                    lost[ref] = NotGiven(error.problems[ref], "gone")
        told = {ref: lost[ref].problem for ref in needed if ref in lost}
        if any(problem.why != "away" for problem in lost.values()):
            raise MissingSecret(told)
        if told:
            raise Unreachable(listed(told))

    async def renew(self, refs: SecretRefs) -> None:
        """
        Read *refs* anew now: somebody refuses what we have. What cannot be read stays as it was.
        """
        self.refresh(SecretRefs(tuple(ref for ref in refs if not ref.remote)))
        for ref in refs:
            if ref.remote:
                await self._remote.renew(ref)

    def refresh(self, ref: str | SecretRef | SecretRefs | None = None) -> None:
        """
        Forget what was read for *ref*, or for all; the next `get` reads anew.
        """
        if ref is None:
            self._kept.clear()
            return
        for wanted in ref if isinstance(ref, SecretRefs) else (_one(ref),):
            self._kept.pop(wanted, None)

    def _source(self, ref: SecretRef) -> tuple[_Stamp | None, Callable[[], str]]:
        if ref.source == "env":
            return None, lambda: self._from_environment(ref)
        return _stamp(ref), lambda: _from_file(ref)

    def _from_environment(self, ref: SecretRef) -> str:
        text = self._environment.get(ref.name, "")
        if not text.strip():
            state = "is empty" if ref.name in self._environment else "is not set"
            raise MissingSecret({ref: f"{state}: export {ref.name}=… before the start"})
        return text


async def _own_way(stack: contextlib.AsyncExitStack) -> Http:
    from penstock.http_aiohttp import AiohttpHttp

    http = AiohttpHttp()
    stack.push_async_callback(http.close)
    return http


def _several(ref: str | SecretRef | SecretRefs) -> SecretRefs:
    return ref if isinstance(ref, SecretRefs) else SecretRefs((_one(ref),))


def _one(ref: str | SecretRef | SecretRefs) -> SecretRef:
    if isinstance(ref, SecretRefs):
        return ref.newest
    try:
        return SecretRef.parse(ref)
    except ValueError as error:
        raise Invalid(str(error)) from None


def _stamp(ref: SecretRef) -> _Stamp:
    try:
        found = Path(ref.name).stat()
    except OSError as error:
        raise _unreadable(ref, error) from None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _from_file(ref: SecretRef) -> str:
    try:
        with Path(ref.name).open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        text = raw.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise _unreadable(ref, error) from None
    except UnicodeDecodeError:
        raise MissingSecret({ref: "is not UTF-8 text: write the secret as text"}) from None
    if not text.strip():
        raise MissingSecret({ref: "is an empty file: write the secret into it"})
    if len(raw) > LARGEST_FILE:
        raise MissingSecret({ref: "is larger than 64 kB: is this the right path?"})
    return text


def _unreadable(ref: SecretRef, error: OSError) -> MissingSecret:
    reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    return MissingSecret({ref: f"{reason}: put the secret there, readable for this user"})
