"""The docs' diagrams, drawn from one source: boxes in a grid, and arrows between them, in light and dark.

Run `.venv/bin/python -m tools.diagrams docs` after a change here; a test compares the files with what this draws.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 190, 64, 66, 52, 12
# Light first; a browser that asks for dark gets the second.
STYLE = """
text { font: 14px "Helvetica Neue", Helvetica, Arial, sans-serif; fill: #1f2328; text-anchor: middle; }
.small { font-size: 12px; fill: #57606a; }
rect { fill: #f6f8fa; stroke: #57606a; }
path { stroke: #57606a; fill: none; }
marker path { fill: #57606a; stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9da7b3; }
  rect { fill: #161b22; stroke: #9da7b3; }
  path { stroke: #9da7b3; }
  marker path { fill: #9da7b3; }
}
"""

TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8Z"/></marker>'
)


@dataclass(frozen=True)
class Diagram:
    """One picture: boxes by name with their column, row and lines; arrows from box to box with a label."""

    title: str
    boxes: dict[str, tuple[int, int, str]]
    arrows: tuple[tuple[str, str, str], ...]


DIAGRAMS = {
    "way-of-an-event": Diagram(
        "The way of an event: EventBridge, work queue, observe, decide, apply, and a look a minute later",
        {
            "event": (0, 0, "EC2 event|state or tag changes"),
            "queue": (1, 0, "Work queue|SQS"),
            "observe": (2, 0, "Observe|EC2, state table"),
            "decide": (3, 0, "Decide|the lowest priority wins"),
            "dead": (1, 1, "Dead-letter queue|after 8 tries"),
            "wait": (2, 1, "Wait or hold|condition and history"),
            "change": (3, 1, "Change|grant, EC2 call, outcome"),
        },
        (
            ("event", "queue", ""),
            ("queue", "observe", ""),
            ("observe", "decide", ""),
            ("decide", "change", "differs"),
            ("decide", "wait", ""),
            ("queue", "dead", "fails"),
        ),
    ),
    "way-of-an-edit": Diagram(
        "The way of an edit: check, count, then publish, or hold until another person approves",
        {
            "row": (0, 0, "Edit of a row|mapping table"),
            "check": (1, 0, "Check|columns, role, conflicts"),
            "count": (2, 0, "Count|instances, permissions"),
            "publish": (3, 0, "Published|instances are looked at"),
            "reject": (1, 1, "Rejected, Conflict|former revision stays"),
            "hold": (2, 1, "Held|former revision stays"),
            "person": (3, 1, "Another person|approves this revision"),
        },
        (
            ("row", "check", ""),
            ("check", "count", ""),
            ("count", "publish", ""),
            ("check", "reject", "fails"),
            ("count", "hold", "too much"),
            ("hold", "person", ""),
            ("person", "publish", ""),
        ),
    ),
    "hub-and-spokes": Diagram(
        "Hub and spokes: each spoke sends events to the hub, which acts through the spoke's roles",
        {
            "one": (0, 0, "Spoke|account A, Region 1"),
            "two": (0, 1, "Spoke|account B, Region 1"),
            "hub": (1, 0, "Hub|tables, queue, functions"),
            "roles": (2, 0, "Reader and changer|roles in each spoke account"),
            "rows": (1, 1, "Mapping table|one row for all accounts"),
            "instances": (2, 1, "Instances|of that account"),
        },
        (
            ("one", "hub", "events"),
            ("two", "hub", ""),
            ("rows", "hub", ""),
            ("hub", "roles", "assumes"),
            ("roles", "instances", "attach"),
        ),
    ),
}


def svg(diagram: Diagram) -> str:
    """Draw a diagram."""
    across = max(column for column, _, _ in diagram.boxes.values()) + 1
    down = max(row for _, row, _ in diagram.boxes.values()) + 1
    width = 2 * MARGIN + across * WIDTH + (across - 1) * GAP_X
    height = 2 * MARGIN + down * HEIGHT + (down - 1) * GAP_Y
    title = escape(diagram.title, {'"': "&quot;"})
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">',
            f"<style>{STYLE}</style>",
            TIP,
            *(line for arrow in diagram.arrows for line in _arrow(diagram, *arrow)),
            *(line for box in diagram.boxes.values() for line in _box(*box)),
            "</svg>",
            "",
        ]
    )


def _corner(column: int, row: int) -> tuple[int, int]:
    return MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y)


def _box(column: int, row: int, text: str) -> list[str]:
    x, y = _corner(column, row)
    name, _, detail = text.partition("|")
    return [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        f'<text x="{x + WIDTH // 2}" y="{y + 28}">{escape(name)}</text>',
        f'<text class="small" x="{x + WIDTH // 2}" y="{y + 47}">{escape(detail)}</text>',
    ]


def _arrow(diagram: Diagram, start: str, end: str, label: str) -> list[str]:
    """Draw a straight arrow between two sides, or between corners if the boxes share neither column nor row."""
    (column, row, _), (to_column, to_row, _) = diagram.boxes[start], diagram.boxes[end]
    (x, y), (to_x, to_y) = _corner(column, row), _corner(to_column, to_row)
    right, below = (to_column > column) - (to_column < column), (to_row > row) - (to_row < row)
    x += WIDTH * (right + 1) // 2
    to_x += WIDTH * (1 - right) // 2
    y += HEIGHT * (below + 1) // 2
    to_y += HEIGHT * (1 - below) // 2
    drawn = [f'<path d="M{x} {y}L{to_x} {to_y}" marker-end="url(#tip)"/>']
    if label:
        beside = (0, -8) if right else (34, 4)
        drawn.append(
            f'<text class="small" x="{(x + to_x) // 2 + beside[0]}" y="{(y + to_y) // 2 + beside[1]}">{label}</text>'
        )
    return drawn


def main(folder: Path) -> None:
    """Write each diagram into a folder."""
    for name, diagram in DIAGRAMS.items():
        (folder / f"{name}.svg").write_text(svg(diagram))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
