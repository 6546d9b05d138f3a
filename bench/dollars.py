"""The part `cost`: dollars for an idle month by component, and for a million events, from one dated price file.

The model is `cost.py` beside this.
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from bench.rows import Row, Target

MODEL, PRICES = "bench.cost", Path(__file__).parent / "prices.yaml"


def rows(say: Callable[[str], None]) -> Iterator[Row]:
    """The model's figures; those that have a most are held to it."""
    date = yaml.safe_load(PRICES.read_text())["date"]
    say(f"the template at the prices of {date}")
    for each in importlib.import_module(MODEL).figures():
        target = None if each.most is None else Target(each.most, "ours")
        yield Row(f"{each.name}, prices of {date}", each.usd, "USD", target=target)
