"""Draws `.github/demo.svg`, the picture on the first page, from a real run of `oidc-actor demo --fast`.

    .venv/bin/python tests/picture.py [--into FILE]

It draws nothing when a promise broke.
"""

from __future__ import annotations

import argparse
import io
import logging
import math
import re
import sys
from pathlib import Path

from rich.console import Console

from oidc_actor.cli.demo import promises as judged
from oidc_actor.cli.demo import view
from oidc_actor.cli.demo.story import staged

PICTURE = Path(__file__).parents[1] / ".github" / "demo.svg"
COLUMNS = 118


def drawn() -> str:
    """Play the fast demo and return its picture."""
    logging.getLogger().addHandler(logging.NullHandler())
    console = Console(file=io.StringIO(), record=True, width=COLUMNS, force_terminal=False, color_system="truecolor")
    view.LINE_EVERY_S = math.inf  # no meters among the lines
    with staged(judged.FAST, console) as play:
        figures = play.run()
    promises = judged.judge(figures, judged.FAST)
    view.show_summary(console, figures, promises)
    if not all(promise.kept for promise in promises):
        sys.exit("a promise broke: " + "; ".join(promise.text for promise in promises if not promise.kept))
    svg = console.export_svg(title="oidc-actor demo --fast")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # the reader's own font: nothing from a network
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the picture on the first page, from a real run of the demo.")
    parser.add_argument("--into", type=Path, default=PICTURE, metavar="FILE", help="the SVG file that is written")
    into: Path = parser.parse_args().into
    into.write_text(drawn(), encoding="utf-8")
    print(into)


if __name__ == "__main__":
    main()
