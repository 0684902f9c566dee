"""
What `penstock doctor` says about each reference to a secret. Only reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from console.cli.exam import Finding
from penstock.http import Http
from penstock.secrets import MissingSecret, SecretRef, SecretRefs, Secrets
from penstock.secrets.stores import NotGiven

OLD = "it is needed while the old secret is in use"


async def each(wanted: Iterable[SecretRefs], secrets: Secrets, http: Http, *, offline: bool) -> list[Finding]:
    """
    Say of each reference whether its secret can be had; after it, *secrets* has them.
    """
    several = list(wanted)
    problems = {} if offline else await secrets.problems(several, http=http)
    old = {ref for refs in several for ref in refs.refs[1:]} - {refs.newest for refs in several}
    refs = dict.fromkeys(ref for refs in several for ref in refs)
    return [_one(ref, secrets, problems, old=ref in old, offline=offline) for ref in refs]


def _one(
    ref: SecretRef, secrets: Secrets, problems: Mapping[SecretRef, NotGiven], *, old: bool, offline: bool
) -> Finding:
    what = f"secret {ref}"
    if ref.remote and offline:
        return Finding(what=what, state="note", says="not asked (--offline)")
    problem = problems.get(ref) if ref.remote else _here(ref, secrets)
    if problem is None:
        count = len(secrets.all(ref))
        return Finding(what=what, state="ok", says="is there" if count == 1 else "is there, with the version before")
    if old:
        return Finding(what=what, state="note", says=problem.problem, next=OLD)
    return Finding(what=what, state="down" if problem.why == "away" else "bad", says=problem.problem)


def _here(ref: SecretRef, secrets: Secrets) -> NotGiven | None:
    try:
        secrets.get(ref)
    except MissingSecret as error:
        return NotGiven(error.problems[ref], "gone")
    return None
