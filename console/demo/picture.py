"""
The picture of the README, made from a real run of the demo.

`python -m console.demo.picture docs/demo.svg` makes it anew.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from console.demo import report, stories
from console.demo.overlay import label
from console.demo.show import playing
from console.demo.view import Lines

WIDTH = 112  # columns
_FONT_FACE = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
"""Fonts from elsewhere: the picture asks nobody for anything."""
_COMMENT = re.compile(r"<!--.*?-->\s*", re.DOTALL)


async def draw() -> str:
    """
    Play the demo; return its closing report as SVG.
    """
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="penstock-picture-") as folder:
        async with playing(Path(folder), Lines(lambda _line: None), model="offline", fast=True) as played:
            console.print(Text("$ penstock demo", style="bold"))
            report.close(console, played.scenes, label=label("offline"))
            report.stories(console, await stories.play(Path(folder) / "stories", model="offline"))
    plain = _COMMENT.sub("", _FONT_FACE.sub("", CONSOLE_SVG_FORMAT))
    return console.export_svg(title="penstock demo", code_format=plain, unique_id="demo")


def main() -> None:
    """
    Write the picture to the file named on the command line.
    """
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/demo.svg")
    target.write_text(asyncio.run(draw()) + "\n", "utf-8")
    sys.stderr.write(f"{target}: {target.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
