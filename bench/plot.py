"""The plot: how far each row is from its target, as bars on a logarithmic scale. The same rows give the same SVG."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.rows import Row, shown

# Pixels.
WIDTH, LABELS, FIGURES, LINE, TOP = 1_140, 500, 160, 22, 34
HELD, MISSED, GREY = "#2e7d32", "#c62828", "#757575"
# What lies further from the target is cut off: from a tenth of it to ten times.
DECADES = 1


def svg(rows: Sequence[Row]) -> str:
    """Bars of the rows that have a target: to the left of the line it is held, to the right missed."""
    drawn = [each for each in rows if each.target]
    height = TOP + LINE * len(drawn) + 10
    middle = (LABELS + WIDTH - FIGURES) / 2
    label = "Each row with a target: how many times the target it takes; held to the left of the line."
    font = 'font-family="sans-serif" font-size="12"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {font} aria-label="{label}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{middle:.0f}" y="16" text-anchor="middle" fill="{GREY}">the target</text>',
        f'<text x="{middle - 8:.0f}" y="30" text-anchor="end" fill="{HELD}">held</text>',
        f'<text x="{middle + 8:.0f}" y="30" fill="{MISSED}">missed</text>',
    ]
    for number, row in enumerate(drawn):
        lines += _bar(row, TOP + LINE * number, middle)
    lines.append(f'<line x1="{middle:.0f}" y1="{TOP}" x2="{middle:.0f}" y2="{height - 10}" stroke="{GREY}"/>')
    return "\n".join([*lines, "</svg>", ""])


def times_the_target(row: Row) -> float:
    """How many times the target's limit a row takes; of a least one, how many times it falls short. 1 is the limit."""
    assert row.target
    value = row.ratio if row.target.of == "ratio" else row.ours
    assert value is not None
    if row.target.limit == 0 or value == 0:
        return 1 if row.target.held(value) else math.inf
    return row.target.limit / value if row.target.least else value / row.target.limit


def _bar(row: Row, top: int, middle: float) -> list[str]:
    times = times_the_target(row)
    half = middle - LABELS
    share = max(-1.0, min(1.0, math.log10(times) / DECADES if 0 < times < math.inf else DECADES))
    width = max(1.0, abs(share) * half)
    left = middle if share > 0 else middle - width
    colour = HELD if row.held else MISSED
    value = row.ratio if row.target and row.target.of == "ratio" else row.ours
    return [
        f'<text x="{LABELS - 8}" y="{top + 14}" text-anchor="end">{escape(row.name)}</text>',
        f'<rect x="{left:.1f}" y="{top + 4}" width="{width:.1f}" height="{LINE - 8}" fill="{colour}"/>',
        f'<text x="{WIDTH - FIGURES + 8}" y="{top + 14}">{escape(f"{shown(value)}; {row.target}")}</text>',
    ]
