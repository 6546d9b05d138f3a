"""What an edit would do: the limit, the fleet counted only when it matters, permissions of the largest groups."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest

from fixtures.account import HOME
from rolekeeper.mappings.impact import Impact, Moment, gains, with_permissions, within_limits
from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import PublishedMapping
from rolekeeper.permissions.comparison import Difference, PolicyReader
from rolekeeper.settings import Limits
from strategies.values import NOW, arn, published


class Told(PolicyReader):
    """Policies as a test tells them, by what is carried before."""

    def __init__(self, *severe: str, **differences: Difference) -> None:
        self.differences = differences
        self.severe_of = severe
        self.asked: list[tuple[str, str]] = []
        self.weighed: list[tuple[str, str]] = []
        self.difference = cache(self._told)

    def _told(self, before: str, after: str) -> Difference:
        before = before.rsplit("/", 1)[-1]
        self.asked.append((before, after))
        return self.differences.get(before, Difference())

    def severe_gain(self, before: str, after: str) -> tuple[str, ...]:
        self.weighed.append((before.rsplit("/", 1)[-1], after.rsplit("/", 1)[-1]))
        return self.severe_of


def impact(**moves: int) -> Impact:
    """Replaces by `db`, so many of each profile."""
    counted = Counter({(arn(before), arn("db")): number for before, number in moves.items()})
    return Impact(replace=sum(moves.values()), moves=counted)


DB = published("a=1", "db")


def compared(  # each with its default
    found: Impact,
    told: Told,
    *,
    per_edit: int = 10,
    candidate: PublishedMapping = DB,
    before: PublishedMapping | None = None,
    took: int = 0,
) -> Impact:
    """What is said of an impact in a fleet of 100."""
    known = with_permissions(found, gains(told, candidate, before, impact=found, gives=True))
    return within_limits(known, Limits(per_edit, 20), took, shares={}, sizes={HOME: 100})


@pytest.mark.parametrize(
    ("changes", "took", "needs_approval", "fleet"),
    [
        (10, 0, False, None),
        (11, 0, False, 100),
        (21, 0, True, 100),
        (4, 6, False, None),
        (4, 7, False, 100),
        (4, 17, True, 100),
        (0, 99, False, None),
    ],
)
def test_what_other_edits_took_counts_and_the_fleets_size_matters_only_beyond_the_number(
    changes: int, took: int, fleet: int | None, *, needs_approval: bool
) -> None:
    report = compared(impact(web=changes), Told(), took=took)
    assert (report.needs_approval, report.fleet) == (needs_approval, fleet)


def test_what_other_edits_took_is_told() -> None:
    assert str(compared(impact(web=20), Told(), per_edit=25, took=20)) == (
        "replace 20 instances, and other edits change 20 within the same 10 minutes "
        "(40 together; 25 of 100 may change without approval); the same permissions"
    )


def test_the_permissions_of_all_groups_are_told_together() -> None:
    told = Told(
        web=Difference(("s3:PutObject on *",), ("s3:GetObject on *",)),
        api=Difference(("s3:PutObject on *", "sqs:* on *")),
    )
    report = compared(impact(web=2, api=1), told)
    assert str(report) == ("replace 3 instances; gains s3:PutObject on *; sqs:* on *; loses s3:GetObject on *")
    assert told.asked == [("web", "db"), ("api", "db")]


def test_only_the_largest_groups_are_compared() -> None:
    told = Told()
    moves = {f"role-{number}": number + 1 for number in range(8)}
    compared(impact(**moves), told, per_edit=100)
    assert [before for before, _ in told.asked] == [f"role-{number}" for number in range(7, 2, -1)]


def test_a_group_that_cant_be_compared_doesnt_hide_the_others() -> None:
    told = Told(web=Difference(("s3:PutObject on *",)), api=Difference(unknown="IAM answers AccessDenied"))
    words = str(compared(impact(web=2, api=1), told))
    assert words.endswith("gains s3:PutObject on *; the permissions couldn't be compared: IAM answers AccessDenied")


def test_a_detach_is_compared_with_no_role() -> None:
    told = Told()
    gone = Impact(detach=1, moves=Counter({(arn("web"), ""): 1}))
    compared(gone, told, candidate=published("a=1", "NONE"))
    assert told.asked == [("web", "")]


# ---- broad permissions ----


def test_what_any_instance_would_gain_of_the_list_needs_approval_whatever_the_number() -> None:
    report = compared(impact(web=1), Told("iam:PutRolePolicy on *", "IAM writes on *"))
    assert report.needs_approval
    assert str(report).startswith(
        "give severe permissions: iam:PutRolePolicy on *; IAM writes on *; it would replace 1"
    )
    assert report.document()["severe"] == ["iam:PutRolePolicy on *", "IAM writes on *"]


def test_every_group_is_weighed_and_what_instances_to_come_would_gain() -> None:
    told = Told()
    moves = {f"role-{number}": 1 for number in range(8)}
    compared(impact(**moves), told, per_edit=100)
    assert told.weighed == [*((before, "db") for before in moves), ("", "db")]


def test_the_role_before_counts_only_where_its_row_allowed_broad_ones() -> None:
    for allowed, expected in ((True, ("web", "db")), (False, ("", "db"))):
        told = Told()
        compared(Impact(), told, before=published("a=1", "web", allow_broad=allowed))
        assert told.weighed == [expected]


def test_an_edit_that_gives_no_role_is_weighed_for_the_instances_that_get_another_alone() -> None:
    gone = replace(published("a=1", "web"), deleted=True)
    left = Impact(detach=1, replace=1, moves=Counter({(arn("web"), ""): 1, (arn("web"), arn("api")): 1}))
    for candidate in (gone, published("a=1", "NONE")):
        told = Told()
        compared(left, told, candidate=candidate)
        assert [each for each in told.weighed if each[1]] == [("web", "api")]


def test_what_changes_when_it_expires_is_counted_once_and_told_with_the_time() -> None:
    now_and_later = replace(impact(web=8), later={Moment(NOW): Counter({Action.DETACH: 12})}, only_later=4)
    report = compared(now_and_later, Told())
    assert str(report).startswith(
        "replace 8 instances, and at 2026-03-01T09:00:00Z, when it expires, "
        "detach 12 (12 of 100; 20 may change without approval)"
    )
    assert (report.changes, report.takes) == (12, 20), "an approval lets both through"
    at = {"at": "2026-03-01T09:00:00+00:00", "expires": ""}
    assert report.document()["later"] == [{**at, "attach": 0, "replace": 0, "detach": 12}]
    assert report.document()["only_later"] == 4


def test_the_moments_of_the_most_changes_are_named_and_the_others_counted() -> None:
    later = {Moment(NOW + timedelta(hours=each)): Counter({Action.DETACH: each}) for each in range(1, 61)}
    report = Impact(later=later, only_later=60)
    hours = [f"{NOW + timedelta(hours=each):%Y-%m-%dT%H:%M:%SZ}, when it expires" for each in (60, 59, 58)]
    counts = [f"detach {each:,}" for each in (60, 59, 58, sum(range(58)))]
    named = [f"{moment}, {text}" for moment, text in zip(hours, counts[:3], strict=True)]
    assert report.later_in_words == [*named, f"57 more moments, {counts[3]}"]
    assert [each["detach"] for each in report.document()["later"]] == list(range(60, 10, -1))


def test_an_edit_that_changes_nothing_says_nothing_of_permissions() -> None:
    report = compared(Impact(), Told())
    assert str(report) == "change no instance"
    assert report.document() == {"attach": 0, "replace": 0, "detach": 0, "gained": [], "lost": []}


def test_the_history_keeps_a_bounded_number_of_phrases() -> None:
    many = tuple(f"s3:Action{number} on *" for number in range(100))
    difference = Difference(many, many, "a reason")
    report = replace(impact(web=1_000), difference=difference, fleet=12_000, allowed=25)
    document = report.document()
    assert (len(document["gained"]), len(document["lost"]), document["unknown"]) == (50, 50, "a reason")
    assert len(str(report)) < 700
    assert "(1,000 of 12,000; 25 may change without approval)" in str(report)
