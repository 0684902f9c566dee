"""
References resolved to secrets: read late, kept, told to the redactor, read again when a file changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from penstock.errors import Invalid
from penstock.redaction import LIVE, Redactor
from penstock.secrets.references import SecretRef, SecretRefs
from penstock.secrets.values import Secret

LARGEST_FILE = 64 * 1024  # bytes; a secret is never longer, a wrong path often is

_Stamp = tuple[int, int, int]


class MissingSecret(Invalid):
    """
    One or more references lead to nothing.
    """

    def __init__(self, problems: Mapping[SecretRef, str]) -> None:
        self.problems = dict(problems)
        """For each reference, what is wrong and how to mend it."""
        super().__init__("; ".join(f"{ref} {problem}" for ref, problem in self.problems.items()))

    @classmethod
    def of_all(cls, errors: Iterable[MissingSecret]) -> MissingSecret:
        """
        Return one error that lists what is missing in *errors*, each reference once.
        """
        return cls({ref: problem for error in errors for ref, problem in error.problems.items()})


class Secrets:
    """
    Resolves references. Values are kept; a file's value is read again when the file has changed.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, *, redactor: Redactor = LIVE) -> None:
        self._environment = os.environ if environment is None else environment
        self._redactor = redactor
        self._kept: dict[SecretRef, tuple[_Stamp | None, Secret]] = {}

    def get(self, ref: str | SecretRef | SecretRefs) -> Secret:
        """
        Return the secret *ref* leads to, of several the newest; raises `MissingSecret`.
        """
        wanted = _one(ref)
        stamp, read = self._source(wanted)
        kept = self._kept.get(wanted)
        if kept is None or kept[0] != stamp:
            text = read()
            self._redactor.add(text)
            kept = self._kept[wanted] = (stamp, Secret(text))
        return kept[1]

    def all(self, refs: SecretRefs) -> tuple[Secret, ...]:
        """
        Return every live value of *refs*, the newest first. Only the newest has to be there.
        """
        found = [self.get(refs.newest)]
        for ref in refs.refs[1:]:
            try:
                found.append(self.get(ref))
            except MissingSecret:
                continue
        return tuple(found)

    def check(self, refs: Iterable[str | SecretRef | SecretRefs]) -> None:
        """
        Resolve all of *refs* now; raises one `MissingSecret` that lists everything missing.
        """
        errors = []
        for ref in refs:
            try:
                self.get(ref)
            except MissingSecret as error:
                errors.append(error)
        if errors:
            raise MissingSecret.of_all(errors)

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
