"""A line of CSV that reads back as it was, on every Python."""

import csv
import io
from collections.abc import Iterable

_ENDS = "\r\n"


def csv_line(cells: Iterable[str]) -> str:
    """One row, ended by a line feed.

    Up to 3.12.2, Python quotes a cell that holds a carriage return or a line feed only where lines end with it
    (https://github.com/python/cpython/issues/67044). So each line is written with both, and then ended as Unix does.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=_ENDS).writerow(cells)
    return f"{text.getvalue().removesuffix(_ENDS)}\n"
