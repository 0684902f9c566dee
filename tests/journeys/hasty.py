"""
A hub whose mails have three seconds to leave, so that what a dead one left behind is looked for soon.

    python -m tests.journeys.hasty run
"""

from __future__ import annotations

import sys

from connectors.mailbox import writing
from penstock.__main__ import main

SOON = 3.0  # seconds

if __name__ == "__main__":
    writing.TIMEOUT = SOON
    sys.exit(main())
