"""
The front door: `penstock …` and `python -m penstock …`.
"""

from __future__ import annotations

import sys

from penstock import rooms


def main() -> None:
    """
    Run the command line and leave with its exit code.
    """
    rooms()
    from console.cli import main as cli  # the rooms are on the path only now

    sys.exit(cli())


if __name__ == "__main__":
    main()
