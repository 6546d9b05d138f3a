"""What AWS asks for units: by the price file, with or without what is free."""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PRICES = Path(__file__).parent / "prices.yaml"

type Usage = Counter[str]
"""Units by the name of their price; Counter adds them up."""

GB = 1e9
# What Lambda logs of an invocation, in bytes; what CloudWatch keeps of a log, compressed. Both are assumed.
REPORT, COMPRESSED = 600, 0.15
MEMORY = 0.5  # GB: ours (template.yaml), and c7n's default (c7n/mu.py, `memory_size`)


@cache
def prices() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = yaml.safe_load(PRICES.read_text())["prices"]
    return found


def bill(usage: Mapping[str, float], *, free: bool = False) -> dict[str, float]:
    """USD by part, in the order of the prices; with `free`, as if the account used its free tier for nothing else."""
    assert usage.keys() <= prices().keys(), "a unit without a price would cost nothing"
    parts: Counter[str] = Counter()
    for name, price in prices().items():
        units = max(0.0, usage.get(name, 0) - (price.get("free", 0) if free else 0))
        below = 0.0
        for up_to, usd in price.get("tiers", [[float("inf"), price.get("usd", 0) / price.get("per", 1)]]):
            parts[price["part"]] += max(0.0, min(units, up_to) - below) * usd
            below = up_to
    return dict(parts)


def total(usage: Mapping[str, float], *, free: bool = False) -> float:
    return sum(bill(usage, free=free).values())


def waited(seconds: float) -> Usage:
    """So many seconds more of our functions."""
    return Counter({"lambda_arm_gb_seconds": seconds * MEMORY})


def invocations(times: float, seconds: float, log: float, processor: str = "arm") -> Usage:
    """Runs of a function with half a GB, each with so many seconds and bytes of log."""
    logged = times * (log + REPORT) / GB
    return Counter(
        {
            "lambda_requests": times,
            f"lambda_{processor}_gb_seconds": times * seconds * MEMORY,
            "logs_gb": logged,
            "logs_gb_months": logged * COMPRESSED,
        }
    )
