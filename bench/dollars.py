"""The part `cost`: dollars for an idle month by component, and for a million events, from one dated price file.

The model is `cost.py` beside this.
"""

import importlib
from collections.abc import Callable, Iterator

from bench.rows import Row, Target

MODEL = "bench.cost"


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """The model's figures; those that have a most are held to it."""
    say("the template at the prices of the file")
    for each in importlib.import_module(MODEL).figures():
        target = None if each.most is None else Target(each.most, "ours")
        yield Row(each.name, each.usd, "USD", target=target)
