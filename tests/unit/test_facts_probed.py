"""Each fact of docs/AWS_FACTS.md that no source states is asked by `rolekeeper verify`, or it says why it can't be."""

import re
from pathlib import Path

import pytest

from rolekeeper_verify.probes import CHANGED, ENDED, RECORDED, RUNNING, Fact

VERIFY = Path(__file__).parents[2] / "docs/verify.md"
TEXT = (Path(__file__).parents[2] / "docs/AWS_FACTS.md").read_text()
PAGE = re.sub(r"[ \n]+", " ", TEXT.replace("\n#", "\n§"))
# Before the first section the page says what the words mean.
_, *SECTIONS = re.split(r"§#+ ", PAGE)
PROBES = [*RUNNING, *RECORDED, *CHANGED, *ENDED]
# What a verification can't ask, by the words that say it: what docs/verify.md calls it, where that says why.
UNASKED = {
    "that an old one is refused so, or with `InvalidNextToken` as other services do, is inferred": (
        "how EC2 refuses a NextToken that has expired"
    ),
    "that the request is refused as a whole is inferred": (
        "that PutEvents to another account's bus is refused as a whole"
    ),
    "that PutEvents from another account counts as received, is inferred": (
        "that an event of another account isn't sent back, whatever brought it"
    ),
    "That the tags of a launch template are there is inferred": (
        "that CloudTrail's record of a launch has the tags of its template"
    ),
    "an empty `tagSet` for a delete of all tags is inferred": "how CloudTrail records that all tags were deleted",
    "That the caller's own account needn't have enabled the Region is inferred": (
        "that a caller's account needn't have enabled the Region of another account"
    ),
    "that another Region's costs the same, is inferred": (
        "who pays for an event to another account or Region, and how much"
    ),
    "That `sts:AssumeRole` supplies it is inferred": "that sts:AssumeRole supplies aws:ResourceOrgID",
    "that the key is there when these assume a role, is inferred": (
        "that credentials copied out of a function keep lambda:SourceFunctionArn"
    ),
    "That Lambda supplies `aws:SourceAccount` when it assumes a function's role is inferred": (
        "that Lambda supplies aws:SourceAccount"
    ),
    "That a rule which sends AWS's own events to the bus supplies them is inferred": (
        "that a rule supplies events:source for AWS's own events"
    ),
    "That a table keeps a name which no template says, as with `cdk import`, is inferred": (
        "that an imported table keeps its name"
    ),
}
SAYS = [*(each.says for each in PROBES), *UNASKED]
UNCERTAIN = [
    (found.start(), section) for section in SECTIONS for found in re.finditer(r"\b(inferred|recorded)\b", section)
]


def covers(says: str, section: str, at: int) -> bool:
    return any(found.start() <= at < found.end() for found in re.finditer(re.escape(says), section))


@pytest.mark.parametrize(("at", "section"), UNCERTAIN, ids=[section[at - 60 : at + 8] for at, section in UNCERTAIN])
def test_what_is_inferred_or_recorded_is_asked_by_one_probe_or_says_why_not(at: int, section: str) -> None:
    found = [says for says in SAYS if covers(says, section, at)]
    what = f"…{section[max(at - 100, 0) : at + 20]}…"
    todo = "write a probe (verify/rolekeeper_verify/probes.py) or an entry of UNASKED that has these words"
    assert len(found) == 1, f"{what} is asked by {found or 'no probe'}: {todo}"


@pytest.mark.parametrize("fact", PROBES, ids=lambda fact: fact.name)
def test_a_probe_is_about_words_of_the_section_that_it_names(fact: Fact) -> None:
    [section] = [each for each in SECTIONS if fact.says in each]
    assert section.startswith(f"{fact.section} ")


def probe_column(says: str) -> str:
    """Return the last cell of the row that has these words."""
    [row] = [line for line in TEXT.splitlines() if says in line]
    return row.rstrip("| ").rpartition(" | ")[2]


@pytest.mark.parametrize("fact", PROBES, ids=lambda fact: fact.name)
def test_a_row_names_the_probe_that_asks_about_it(fact: Fact) -> None:
    assert f"`{fact.name}`" in probe_column(fact.says)


def test_what_cannot_be_asked_is_in_the_page_and_its_row_says_so() -> None:
    assert [says for says in UNASKED if PAGE.count(says) != 1] == []
    assert [says for says in UNASKED if not re.search(r"\bno$", probe_column(says))] == []


def test_the_page_of_the_command_says_what_it_cannot_ask() -> None:
    page = re.sub(r"[ \n]+", " ", VERIFY.read_text())
    assert [what for what in UNASKED.values() if what not in page] == [], "add them to What it can't prove"


def test_each_probe_has_a_name_of_its_own_and_says_what_it_expects() -> None:
    assert len({each.name for each in PROBES}) == len(PROBES)
    assert all(re.fullmatch(r"[A-Z].*\.", each.expected) for each in PROBES)
