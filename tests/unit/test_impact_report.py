"""What an edit would do: the limit, the fleet counted only when it matters, permissions of the largest groups."""

from collections import Counter

import pytest

from rolekeeper.mappings.impact import COMPARED, PHRASES, Impact, ImpactAssessor, ImpactReport, Move
from rolekeeper.permissions.compare import Difference, PolicyReader
from rolekeeper.settings import Limits
from strategies.values import arn, published


class Fleet:
    """A fleet that knows only how many instances there are, and how often it was asked."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self.size


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
    counted = Counter({Move(arn(before), arn("db")): number for before, number in moves.items()})
    return Impact(replace=sum(moves.values()), moves=counted)


DB = published("a=1", "db")


@pytest.mark.parametrize(("changes", "needs_approval", "asked"), [(10, False, 0), (11, False, 1), (21, True, 1)])
def test_the_fleet_is_counted_only_beyond_the_number(changes: int, asked: int, *, needs_approval: bool) -> None:
    fleet = Fleet(100)
    report = ImpactAssessor(Limits(10, 20), fleet, Told()).report(DB, impact(web=changes))
    assert (report.needs_approval, fleet.asked) == (needs_approval, asked)


def test_the_permissions_of_all_groups_are_told_together() -> None:
    told = Told(
        web=Difference(("s3:PutObject on *",), ("s3:GetObject on *",)),
        api=Difference(("s3:PutObject on *", "sqs:* on *")),
    )
    report = ImpactAssessor(Limits(10, 20), Fleet(100), told).report(DB, impact(web=2, api=1))
    assert str(report) == (
        "attach 0, replace 3 and detach 0 instances; gains s3:PutObject on *; sqs:* on *; loses s3:GetObject on *"
    )
    assert told.asked == [("web", "db", "db"), ("api", "db", "db")]


def test_only_the_largest_groups_are_compared() -> None:
    told = Told()
    moves = {f"role-{number}": number + 1 for number in range(COMPARED + 3)}
    ImpactAssessor(Limits(100, 20), Fleet(0), told).report(DB, impact(**moves))
    assert [before for before, _, _ in told.asked] == [f"role-{number}" for number in range(COMPARED + 2, 2, -1)]


def test_a_group_that_cant_be_compared_doesnt_hide_the_others() -> None:
    told = Told(web=Difference(("s3:PutObject on *",)), api=Difference(unknown="IAM answers AccessDenied"))
    words = str(ImpactAssessor(Limits(10, 20), Fleet(100), told).report(DB, impact(web=2, api=1)))
    assert words.endswith("gains s3:PutObject on *; the permissions couldn't be compared: IAM answers AccessDenied")


def test_a_detach_is_compared_with_no_role() -> None:
    told = Told()
    gone = Impact(detach=1, moves=Counter({Move(arn("web"), ""): 1}))
    ImpactAssessor(Limits(10, 20), Fleet(100), told).report(published("a=1", "NONE"), gone)
    assert told.asked == [("web", "", "")]


def test_an_edit_that_changes_nothing_says_nothing_of_permissions() -> None:
    report = ImpactAssessor(Limits(10, 20), Fleet(100), Told()).report(DB, Impact())
    assert str(report) == "attach 0, replace 0 and detach 0 instances"
    assert report.document() == {"attach": 0, "replace": 0, "detach": 0, "gained": [], "lost": []}


def test_the_history_keeps_a_bounded_number_of_phrases() -> None:
    many = tuple(f"s3:Action{number} on *" for number in range(2 * PHRASES))
    report = ImpactReport(impact(web=1_000), Difference(many, many, "a reason"), 12_000, 25)
    document = report.document()
    assert (len(document["gained"]), len(document["lost"]), document["unknown"]) == (PHRASES, PHRASES, "a reason")
    assert len(str(report)) < 700
    assert "(1,000 of 12,000; 25 may change without approval)" in str(report)
