"""
A hub with a mistake that others have made: a run is named after its place on the bus, not after its event.

    python -m tests.crash.mutant run

Whatever is delivered twice is then nobody's double. The harness has to see it.
"""

from __future__ import annotations

import sys

from ledger.contract import NewRun, run_id
from penstock.__main__ import main


def _by_place(new: NewRun) -> str:
    return run_id(new.tenant, new.pipeline, new.source, f"{new.event_id}@{new.partition}/{new.offset}")


if __name__ == "__main__":
    NewRun.run = property(_by_place)  # type: ignore[assignment,method-assign]  # the mistake
    sys.exit(main())
