"""
`penstock doctor`: everything a hub needs, looked at one by one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from console.cli import exam_ledger, exam_machine, exam_network, project
from console.cli.exam import Finding
from console.cli.exits import Exit
from console.cli.streams import emit, out, say, talk
from penstock.errors import Invalid
from penstock.redaction import LIVE
from pipelines.declaration import Declaration, Kafka

_MARKS = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "red"), "down": ("DOWN", "red")}


def doctor(file: Path, *, offline: bool, as_json: bool) -> int:
    """
    Examine machine, state, secrets, connections and models; 4 when something cannot be reached.
    """
    findings = exam_machine.machine()
    try:
        loaded = project.load(file)
        declaration = project.declaration(loaded)
        findings += exam_machine.state(loaded.root / declaration.hub.state, declaration.hub.listen)
        if declaration.hub.ledger is not None:
            findings.append(exam_ledger.server(declaration, loaded.root, offline=offline))
        if declaration.hub.bus is not None:
            findings += _bus(declaration, loaded.root, declaration.hub.bus, offline=offline)
        findings += exam_ledger.kept(declaration, loaded.root, offline=offline)
        findings += asyncio.run(exam_network.outside(declaration, offline=offline))
    except Invalid as error:
        findings.append(Finding(what="configuration", state="bad", says=str(error), next="penstock check"))
    findings = [replace(finding, says=LIVE.hide(finding.says)) for finding in findings]
    if as_json:
        emit("doctor", findings=[finding.as_data() for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    return _verdict(findings)


def _bus(declaration: Declaration, root: Path, given: Kafka, *, offline: bool) -> list[Finding]:
    from console.cli import exam_bus  # what speaks Kafka takes a while to load

    return asyncio.run(exam_bus.kafka(declaration, root, given, offline=offline))


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.state]
    out().print(Text.assemble((mark, colour), f"  {finding.what:<24} {finding.says}"), soft_wrap=True)
    if finding.next:
        out().print(Text(f"{'':32}{finding.next}", style="dim"), soft_wrap=True)


def _verdict(findings: list[Finding]) -> int:
    counted = Counter(finding.state for finding in findings)
    talk()
    if counted["down"]:
        say(f"{counted['down']} cannot be reached")
        return Exit.UNREACHABLE
    if counted["bad"]:
        say(f"{counted['bad']} must be mended")
        return Exit.FINDINGS
    say("nothing stands in the way")
    return Exit.OK
