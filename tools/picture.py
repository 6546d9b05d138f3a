"""Draws what the demo printed as an SVG, with the colours that it has on a terminal: `picture.py OUTPUT SVG`."""

import io
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 116
# How each kind of line begins, behind the elapsed time; the titles of steps have none.
STYLES = {"→": "cyan", "✓": "green", "·": "dim", "✗": "bold red"}
TITLE = "bold"
STEPS = 7  # of the story: the picture is to fit a page
_STEP = re.compile(r"(\d+)\. ")
# What a terminal shows only for a moment.
_PASSING = re.compile(r"· (waiting|watching)\b")
_LINE = re.compile(r"^(?P<time> *\d+\.\d s) {2}(?P<mark>\S| ) (?P<text>.*)$")
# The picture loads nothing from elsewhere.
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def lines(output: Iterable[str]) -> Iterator[Text]:
    """The lines of the story's first steps, styled, with an empty one before each step."""
    begun = False
    for line in output:
        found = _LINE.match(line.rstrip())
        if not found:
            continue
        if step := _STEP.match(found["text"]):
            if int(step[1]) > STEPS:
                return
            if begun:
                yield Text("")
            begun = True
        if begun and not _PASSING.search(line):
            style = STYLES.get(found["mark"], TITLE)
            yield Text.assemble((f"{found['time']}  ", "dim"), (f"{found['mark']} {found['text']}", style))


def drawn(output: str, title: str) -> str:
    """The picture. Raises a ValueError where the output holds no story."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    story = list(lines(output.splitlines()))
    if not story:
        raise ValueError("this isn't what the demo prints: it has no first step")
    for line in story:
        line.truncate(WIDTH, overflow="ellipsis")
        console.print(line, no_wrap=True)
    return _FONT.sub("", console.export_svg(title=title, unique_id="demo"))


def main(output: Path, picture: Path) -> None:
    """Draw a file's text into another."""
    picture.write_text(drawn(output.read_text(), "make demo"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
