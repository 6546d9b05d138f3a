"""What an edit would do: the limit, the fleet counted only when it matters, permissions of the largest groups."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rolekeeper.aws import Ec2
from rolekeeper.mappings.impact import PHRASES, Impact
from rolekeeper.mappings.scan import COMPARED, ImpactScanner
from rolekeeper.model.instance import Instance
from rolekeeper.model.mapping import PublishedMapping
from rolekeeper.permissions.compare import Difference, PolicyReader
from rolekeeper.settings import Limits
from strategies.values import arn, instance, published


class Fleet(Ec2):
    """A fleet that knows only how many instances there are, and how often it was asked."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked = 0

    def fleet(self, *_filters: object) -> Iterator[list[Instance]]:
        self.asked += 1
        yield [instance()] * self.size


class Told(PolicyReader):
    """Policies as a test tells them, by what is carried before."""

    def __init__(self, **differences: Difference) -> None:
        self.differences = differences
        self.asked: list[tuple[str, str, str]] = []

    def profile_difference(self, from_profile: str, to_profile: str, to_role: str = "") -> Difference:
        before, after = (each.rsplit("/", 1)[-1] for each in (from_profile, to_profile))
        self.asked.append((before, after, to_role))
        return self.differences.get(before, Difference())


def impact(**moves: int) -> Impact:
    """Replaces by `db`, so many of each profile."""
    counted = Counter({(arn(before), arn("db")): number for before, number in moves.items()})
    return Impact(replace=sum(moves.values()), moves=counted)


DB = published("a=1", "db")


def compared(
    found: Impact, told: Told, *, per_edit: int = 10, fleet: Fleet | None = None, candidate: PublishedMapping = DB
) -> Impact:
    """What is said of an impact; of the scanner's parts only these are needed."""
    other: Any = None
    scanner = ImpactScanner(
        ec2=fleet or Fleet(100), state=other, table=other, policies=told, limits=Limits(per_edit, 20), ownership=other
    )
    return scanner.compared(found, candidate)


@pytest.mark.parametrize(("changes", "needs_approval", "asked"), [(10, False, 0), (11, False, 1), (21, True, 1)])
def test_the_fleet_is_counted_only_beyond_the_number(changes: int, asked: int, *, needs_approval: bool) -> None:
    fleet = Fleet(100)
    report = compared(impact(web=changes), Told(), fleet=fleet)
    assert (report.needs_approval, fleet.asked) == (needs_approval, asked)


def test_the_permissions_of_all_groups_are_told_together() -> None:
    told = Told(
        web=Difference(("s3:PutObject on *",), ("s3:GetObject on *",)),
        api=Difference(("s3:PutObject on *", "sqs:* on *")),
    )
    report = compared(impact(web=2, api=1), told)
    assert str(report) == (
        "attach 0, replace 3 and detach 0 instances; gains s3:PutObject on *; sqs:* on *; loses s3:GetObject on *"
    )
    assert told.asked == [("web", "db", "db"), ("api", "db", "db")]


def test_only_the_largest_groups_are_compared() -> None:
    told = Told()
    moves = {f"role-{number}": number + 1 for number in range(COMPARED + 3)}
    compared(impact(**moves), told, per_edit=100, fleet=Fleet(0))
    assert [before for before, _, _ in told.asked] == [f"role-{number}" for number in range(COMPARED + 2, 2, -1)]


def test_a_group_that_cant_be_compared_doesnt_hide_the_others() -> None:
    told = Told(web=Difference(("s3:PutObject on *",)), api=Difference(unknown="IAM answers AccessDenied"))
    words = str(compared(impact(web=2, api=1), told))
    assert words.endswith("gains s3:PutObject on *; the permissions couldn't be compared: IAM answers AccessDenied")


def test_a_detach_is_compared_with_no_role() -> None:
    told = Told()
    gone = Impact(detach=1, moves=Counter({(arn("web"), ""): 1}))
    compared(gone, told, candidate=published("a=1", "NONE"))
    assert told.asked == [("web", "", "")]


def test_an_edit_that_changes_nothing_says_nothing_of_permissions() -> None:
    report = compared(Impact(), Told())
    assert str(report) == "attach 0, replace 0 and detach 0 instances"
    assert report.document() == {"attach": 0, "replace": 0, "detach": 0, "gained": [], "lost": []}


def test_the_history_keeps_a_bounded_number_of_phrases() -> None:
    many = tuple(f"s3:Action{number} on *" for number in range(2 * PHRASES))
    difference = Difference(many, many, "a reason")
    report = replace(impact(web=1_000), difference=difference, fleet=12_000, allowed=25)
    document = report.document()
    assert (len(document["gained"]), len(document["lost"]), document["unknown"]) == (PHRASES, PHRASES, "a reason")
    assert len(str(report)) < 700
    assert "(1,000 of 12,000; 25 may change without approval)" in str(report)
