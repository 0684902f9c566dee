"""
`check`: everything that can be proved of a declaration before a run.

    report = run(Path("pipelines.yaml"))
    report.findings             # errors and notes, by place
    report.costs                # what one event can cost, per pipeline
    print(report.render("text"))
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import connectors
from connectors import catalog as all_connectors
from penstock.errors import Invalid
from pipelines import later
from pipelines.costing import Cost, costs
from pipelines.findings import Finding, as_github, as_json, as_sarif, as_text, in_order, masked
from pipelines.loading import Loaded, load, secrets_in_clear
from pipelines.places import Place
from pipelines.rules import apply
from pipelines.rules.secrets import in_clear
from pipelines.survey import Catalog, Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    What `check` has to say.
    """

    findings: list[Finding]
    costs: list[Cost]
    loaded: Loaded
    refusals: list[Finding]
    """What `run` refuses although it is no mistake; no text of a secret can be read in it."""

    @property
    def ok(self) -> bool:
        """
        Whether there is no error; notes do not count.
        """
        return not any(finding.severity == "error" for finding in self.findings)

    def render(self, form: str) -> str:
        """
        Return the report as `text`, `json`, `github` or `sarif`.
        """
        if form == "json":
            return as_json(self.findings, [cost.as_data() for cost in self.costs])
        if form == "github":
            return as_github(self.findings)
        if form == "sarif":
            return as_sarif(self.findings)
        if form != "text":
            raise Invalid(f"there is no format {form!r}", hint="one of text, json, github, sarif")
        return "\n".join(part for part in (as_text(self.findings), *map(str, self.costs)) if part)


def run(
    path: Path,
    *,
    catalog: Catalog | None = None,
    environ: Mapping[str, str] | None = None,
    off: Collection[str] = (),
) -> Report:
    """
    Check the declaration in the file *path*. Never raises for what a person wrote.

    Args:
        catalog: Stands in for all connectors, those in the hub's own `connectors/` among them.
        environ: Stands in for the process environment.
        off: Families of rules to leave out.
    """
    loaded = load(path)
    if catalog is None:
        connectors.extend(path.parent / "connectors")
        catalog = all_connectors
    findings = list(loaded.findings)
    hidden = secrets_in_clear(loaded.data)
    priced: Sequence[Cost] = ()
    if loaded.sound is not None:
        survey = Survey(loaded, catalog, os.environ if environ is None else environ)
        try:
            hidden |= in_clear(survey)
            findings += apply(survey, off)
            priced = list(costs(survey))
        except Invalid as error:
            findings.append(_manifest(error, path))
    refused = later.refusals(loaded.declaration, loaded.places) if loaded.declaration is not None else []
    findings += _notes(refused)
    kept = [finding for finding in findings if finding.family not in off]
    return Report(
        findings=in_order(masked(kept, hidden)), costs=list(priced), loaded=loaded, refusals=masked(refused, hidden)
    )


def _notes(refusals: Sequence[Finding]) -> list[Finding]:
    return [
        Finding(
            severity="note",
            place=found.place,
            message=found.message,
            hint=f"`run` refuses it: {found.hint}",
            rule=found.rule,
        )
        for found in refusals
    ]


def _manifest(error: Invalid, path: Path) -> Finding:
    """
    Return a mistake in a connector's manifest as a finding.
    """
    return Finding(place=Place(str(path), 1, 1), message=f"a connector cannot be read: {error}", rule="names/manifest")
