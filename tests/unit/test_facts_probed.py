"""Each fact of docs/AWS_FACTS.md that no source states is asked by `rolekeeper verify`, or it says why it can't be."""

import re
from pathlib import Path

import pytest

from rolekeeper_cli.verifying.probes import CHANGED, ENDED, RECORDED, RUNNING, UNASKED, Fact

VERIFY = Path(__file__).parents[2] / "docs/verify.md"
PAGE = re.sub(r"[ \n]+", " ", (Path(__file__).parents[2] / "docs/AWS_FACTS.md").read_text().replace("\n#", "\n§"))
# Before the first section the page says what the words mean.
_, *SECTIONS = re.split(r"§#+ ", PAGE)
PROBES = [*RUNNING, *RECORDED, *CHANGED, *ENDED]
SAYS = [each.says for each in PROBES] + [each.says for each in UNASKED]
UNCERTAIN = [
    (found.start(), section) for section in SECTIONS for found in re.finditer(r"\b(inferred|recorded)\b", section)
]


def covers(says: str, section: str, at: int) -> bool:
    return any(found.start() <= at < found.end() for found in re.finditer(re.escape(says), section))


@pytest.mark.parametrize(("at", "section"), UNCERTAIN, ids=[section[at - 60 : at + 8] for at, section in UNCERTAIN])
def test_what_is_inferred_or_recorded_is_asked_by_one_probe_or_says_why_not(at: int, section: str) -> None:
    found = [says for says in SAYS if covers(says, section, at)]
    what = f"…{section[max(at - 100, 0) : at + 20]}…"
    todo = "write a probe or an entry of UNASKED whose `says` has these words (cli/rolekeeper_cli/verifying/probes.py)"
    assert len(found) == 1, f"{what} is asked by {found or 'no probe'}: {todo}"


@pytest.mark.parametrize("fact", PROBES, ids=lambda fact: fact.name)
def test_a_probe_is_about_words_of_the_section_that_it_names(fact: Fact) -> None:
    [section] = [each for each in SECTIONS if fact.says in each]
    assert section.startswith(f"{fact.section} ")


def test_what_cannot_be_asked_is_in_the_page() -> None:
    assert [each.says for each in UNASKED if PAGE.count(each.says) != 1] == []


@pytest.mark.skipif(not VERIFY.exists(), reason="docs/verify.md isn't written yet")
def test_the_page_of_the_command_says_what_it_cannot_ask() -> None:
    page = re.sub(r"[ \n]+", " ", VERIFY.read_text())
    assert [each.what for each in UNASKED if each.what not in page] == [], "add them to What it can't prove"


def test_each_probe_has_a_name_of_its_own_and_says_what_it_expects() -> None:
    assert len({each.name for each in PROBES}) == len(PROBES)
    assert all(re.fullmatch(r"[A-Z].*\.", each.expected) for each in PROBES)
