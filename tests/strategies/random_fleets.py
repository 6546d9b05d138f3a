"""Random small fleets with their mappings, before and after a change: plain data, for any world to play.

All tags and mappings of a fleet begin with its prefix, so many fleets can live in one account without meeting.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ROLES = ("red", "green", "blue")
# Attached by somebody else; not under the role path.
THEIRS = "theirs"
type Rows = dict[tuple[str, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Member:
    """One instance: how it begins, and what people do to it before the plan.

    `act` is `stop`, `by-hand` (somebody attaches or replaces), `taken` (somebody detaches) or nothing.
    """

    profile: str
    tags: Mapping[str, str]
    then: Mapping[str, str]
    act: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """Some instances, the rows that are served, and the rows of the file."""

    prefix: str
    members: Sequence[Member]
    rows: Rows
    file: Rows = field(default_factory=dict)


def random_fleet(rng: random.Random, prefix: str, *, prunes: bool = False) -> Fleet:
    """One fleet of up to three members; where rows may be deleted, the file lacks some of them."""
    keys = [(f"{prefix}{tag}", value) for tag in "ab" for value in ("x", "y", "*")]
    rows = {key: _columns(rng, prefix) for key in rng.sample(keys, rng.randint(1, 4))}
    file = {key: dict(columns) for key, columns in rows.items()}
    for key in list(file):
        if rng.random() < 0.5:
            file[key] = _edited(rng, prefix, file[key])
        elif prunes and rng.random() < 0.3:
            del file[key]
    for key in rng.sample(keys, rng.randint(0, 2)):
        file.setdefault(key, _columns(rng, prefix))
    return Fleet(prefix, [_member(rng, prefix) for _ in range(rng.randint(1, 3))], rows, file)


def _member(rng: random.Random, prefix: str) -> Member:
    tags = _tags(rng, prefix)
    then = dict(tags) if rng.random() < 0.4 else _tags(rng, prefix)
    (act,) = rng.choices(("", "stop", "by-hand", "taken"), (60, 20, 12, 8))
    (profile,) = rng.choices(("", THEIRS, ROLES[0]), (50, 35, 15))
    return Member(profile, tags, then, act)


def _tags(rng: random.Random, prefix: str) -> dict[str, str]:
    tags = {f"{prefix}{tag}": rng.choice("xyz") for tag in "ab" if rng.random() < 0.7}
    if rng.random() < 0.3:
        tags[f"{prefix}env"] = rng.choice(("prod", "test"))
    if rng.random() < 0.07:
        tags["rolekeeper:ignore"] = rng.choice(("true", "false", "what?"))
    return tags


def _columns(rng: random.Random, prefix: str) -> dict[str, Any]:
    columns: dict[str, Any] = {"role": rng.choices((*ROLES, "NONE", "nobody"), (30, 30, 30, 8, 2))[0]}
    if rng.random() < 0.8:
        # Few numbers, so that ties happen.
        columns["priority"] = rng.choice((10, 20, 30))
    for column, values, chance in (
        ("enabled", (False,), 0.06),
        ("when_occupied", ("keep", "replace", "replace"), 0.7),
        ("when_unmatched", ("keep", "detach"), 0.5),
        ("when_stopped", ("swap", "wait"), 0.4),
        ("require_tags", ({f"{prefix}env": "prod"},), 0.12),
    ):
        if rng.random() < chance:
            columns[column] = rng.choice(values)
    return columns


def _edited(rng: random.Random, prefix: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    fresh = _columns(rng, prefix)
    name = rng.choice(sorted({*columns, *fresh}))
    edited = {key: value for key, value in columns.items() if key != name}
    return edited | ({name: fresh[name]} if name in fresh else {})
