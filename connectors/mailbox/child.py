"""
The process that reads mails: `python child.py`. A frame in, a frame out.

In: four bytes of length, one that says how (see `reader`), and a mail. Out: four bytes of length, and JSON.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
from pathlib import Path

MEMORY = 768 * 1024 * 1024  # bytes
SECONDS = 5  # of the processor for one mail


def main() -> None:
    """
    Read mails until nobody sends one.
    """
    sys.path.insert(0, str(Path(__file__).parent))
    letters = importlib.import_module("letters")  # beside this file; nothing else of ours is needed
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while header := sys.stdin.buffer.read(5):
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        raw = sys.stdin.buffer.read(int.from_bytes(header[:4], "big"))
        found = json.dumps(letters.read(raw, whole=not header[4] & 1, attached=bool(header[4] & 2))).encode()
        sys.stdout.buffer.write(len(found).to_bytes(4, "big") + found)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
