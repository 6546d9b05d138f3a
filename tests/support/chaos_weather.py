"""How much goes wrong at each moment of the chaos: mild, with storms, and an outage that fills the dead letters."""

import random
from collections.abc import Mapping
from typing import Any

EVENTS = {"drop": 0.05, "repeat": 0.1, "delay": 0.1}
MILD = {"throttle": 0.04, "error": 0.03, "lose-answer": 0.03, "kill-before": 0.004, "kill-after": 0.004}
# Four sendings of one call in a row must fail before a function sees it: botocore's attempts.
STORMS: tuple[Mapping[str, Mapping[str, float]], ...] = (
    {"ec2": {"throttle": 0.6}},
    {"dynamodb": {"throttle": 0.4, "error": 0.2}},
    {"sqs": {"throttle": 0.3, "error": 0.3}},
    {"ec2": {"lose-answer": 0.4}},
    {"dynamodb": {"lose-answer": 0.4}},
    {"*": {"kill-before": 0.03, "kill-after": 0.03}},
)
OUTAGE = {"dynamodb": {"error": 1.0}}


def mild() -> dict[str, Any]:
    """A little goes wrong everywhere."""
    return {"calls": {"*": MILD}, "events": EVENTS}


def storm(rng: random.Random) -> dict[str, Any]:
    """The weather for a while: mostly mild everywhere, or one storm in the midst of it."""
    calls = {"*": MILD, **(rng.choice(STORMS) if rng.random() < 0.6 else {})}
    return {"calls": calls, "events": EVENTS}


def outage() -> dict[str, Any]:
    """DynamoDB answers nobody."""
    return {"calls": {"*": MILD, **OUTAGE}, "events": EVENTS}
