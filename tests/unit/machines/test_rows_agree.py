"""Random histories of rows, people, accounts and crashes: the code says of each row what `spec.rows` says of it.

A history is drawn from its number; one that fails is cut down to the steps that it needs, and printed as a story.
"""

import os
from datetime import timedelta

import pytest

from fixtures.organization import new_organization
from fixtures.organization_desk import OrganizationDesk
from fixtures.row_history import ALONE, BY_ACCOUNT, IN_LINE, History, Step, drawn
from rolekeeper.fleet import targets
from rolekeeper.mappings import account_runs

# Of each kind: the gate plays these, `make soak` 100,000 together. Another first one plays others.
HISTORIES = 33_334 if os.environ.get("ROLEKEEPER_SOAK") else 50
FIRST = int(os.environ.get("ROLEKEEPER_ROWS_FROM", "0"))
# What is told of it is wrong if its two rows are judged one after the other: accounts are asked about both at once.
TOGETHER = 31_000_429


def failure(spokes: int, steps: list[Step]) -> str:
    """Play a history; returns what is wrong, empty for nothing."""
    with new_organization() as organization:
        history = History(OrganizationDesk(organization), spokes)
        try:
            for step in steps:
                history.play(step)
            history.end()
        except AssertionError as error:
            return str(error)
    return ""


def shortest(spokes: int, steps: list[Step]) -> list[Step]:
    """Leave out each step without which it still fails."""
    for at in reversed(range(len(steps))):
        fewer = steps[:at] + steps[at + 1 :]
        if failure(spokes, fewer):
            steps = fewer
    return steps


def story(kind: str, seed: int) -> str:
    """What is wrong with a history, and the shortest part of it that shows it; empty if nothing is."""
    spokes, steps = drawn(kind, seed)
    if not failure(spokes, steps):
        return ""
    steps = shortest(spokes, steps)
    told = (" ".join([name, *(f"{what}={each!r}" for what, each in arguments.items())]) for name, arguments in steps)
    lines = [f"  {number}. {line}" for number, line in enumerate(told, 1)]
    return "\n".join([f"history {seed} of {kind}, {spokes} spokes:", *lines, failure(spokes, steps)])


@pytest.mark.parametrize("kind", [ALONE, IN_LINE, BY_ACCOUNT])
def test_of_each_row_the_code_says_what_the_docs_say(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(account_runs, "ASKED", 0 if kind == BY_ACCOUNT else account_runs.ASKED)
    # Each sweep asks IAM about each mapping: how long what governs nothing isn't asked about is another's story.
    monkeypatch.setattr(targets, "CHECKED_FOR", timedelta(0))
    for seed in (*range(FIRST, FIRST + HISTORIES), TOGETHER):
        wrong = story(kind, seed)
        assert not wrong, wrong
