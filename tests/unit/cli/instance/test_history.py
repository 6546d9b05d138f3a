"""What an instance carried and who attached it, by its history."""

import pytest

from fixtures.history_entries import stored_entry
from rolekeeper.model.instance import Association, AssociationState, InstanceKey
from rolekeeper_cli.instance.history import entry_view, spans
from rolekeeper_cli.instance.view import EntryView

pytestmark = pytest.mark.usefixtures("web_and_db", "silence")

WEB, DB = (f"arn:aws:iam::123456789012:instance-profile/rolekeeper/{name}" for name in ("web", "db"))
OURS = Association("iip-1", "i-1", WEB, AssociationState.ASSOCIATED)


def entry(second: int, saw: str = "", profile: str = "", answer: str = "", to: str = WEB) -> EntryView:
    stored = stored_entry(f"2026-03-01T12:00:{second:02}+00:00", saw=saw, carries=profile, made=answer, to=to)
    return entry_view(InstanceKey("123456789012", "us-east-1", "i-1"), stored)


def whose(entries: list[EntryView], shown: Association | None, *, granted: bool = False) -> list[tuple[str, str]]:
    """The profiles that it carried, the oldest first, and who attached each."""
    found = spans(entries[::-1], shown, granted=granted)
    return [(each.profile_arn, each.attached_by) for each in found]


def test_what_a_second_worker_saw_before_the_first_ones_change_is_over() -> None:
    first, second = entry(1, answer="iip-1"), entry(2)
    assert whose([first, second], OURS) == [(WEB, "Rolekeeper")]
    later = entry(9, saw="iip-1", profile=WEB, answer="iip-2", to=DB)
    then = Association("iip-2", "i-1", DB, AssociationState.ASSOCIATED)
    assert whose([first, second, later], then) == [(WEB, "Rolekeeper"), (DB, "Rolekeeper")]


def test_what_a_second_worker_saw_before_the_first_one_took_it_is_over() -> None:
    made = entry(1, answer="iip-1")
    for answer, to, then in (("iip-1", "", []), ("iip-2", DB, [(DB, "Rolekeeper")])):
        both = [entry(second, "iip-1", WEB, made_by, to) for second, made_by in ((2, answer), (3, ""))]
        assert whose([made, *both], None) == [(WEB, "Rolekeeper"), *then]
    taken, theirs, late = entry(2, "iip-1", WEB, "iip-1", ""), entry(3, "iip-9", DB), entry(4, "iip-1", WEB)
    assert whose([made, taken, theirs, late], None) == [(WEB, "Rolekeeper"), (DB, "another actor")]
    assert whose([made, entry(2), taken], None) == [(WEB, "Rolekeeper")]


def test_what_was_seen_after_another_actor_changed_it_is_believed() -> None:
    theirs = Association("iip-9", "i-1", DB, AssociationState.ASSOCIATED)
    assert whose([entry(1, answer="iip-1"), entry(5)], theirs) == [(WEB, "Rolekeeper"), (DB, "another actor")]


def test_without_an_entry_a_grant_says_who_attached_what_it_carries() -> None:
    assert whose([], OURS, granted=True) == [(WEB, "Rolekeeper")]
    assert whose([], OURS) == [(WEB, "another actor")]
