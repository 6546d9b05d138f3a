"""Edits that would change too much: held with what they would do, approved by their number, taken back."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fixtures.account import MUTATIONS, FakeAccount, mapping_key, refusing
from fixtures.mappings import TRUSTS_EC2, TRUSTS_LAMBDA, Desk
from rolekeeper.aws.errors import CorruptItemError
from rolekeeper.mappings.verdict import Status, Verdict
from rolekeeper.settings import Limits
from rolekeeper.storage import Update, layout

TAG = "workload=web"
BUDGET = layout.budget_key(mapping_key(TAG))


@pytest.fixture
def desk(world: FakeAccount) -> Desk:
    """Two roles; `workload=web` gives three running instances the first. One change passes without approval."""
    made = Desk(world)
    made.usable("web", "api")
    made.grant("web", "s3:GetObject")
    made.grant("api", "s3:PutObject")
    assert made.edit(TAG, role="web").status is Status.PUBLISHED
    for _ in range(3):
        made.converged("web", workload="web")
    made.limits = Limits(1, 0)
    made.quiet()
    return made


def credit(desk: Desk) -> tuple[int, int]:
    item = desk.world.store.get([BUDGET]).get(BUDGET, {})
    revision = int(item.get("credit_revision", 0))
    return int(item.get(layout.credit_of(revision), 0)), revision


# ---- held ----


def test_an_edit_that_would_change_too_much_is_held_and_says_what_it_would_do(desk: Desk) -> None:
    desk.world.running(workload="web")
    verdict = desk.edit(TAG, role="api")
    assert (verdict.status, verdict.held, verdict.revision) == (Status.HELD, 2, 1)
    row = desk.row(TAG)
    assert (row["status"], row["held_revision"], row["status_revision"], row["matched"]) == ("Held", 2, 1, 4)
    assert row["status_reason"] == (
        "it would attach 1 and replace 3 instances (4 of 4; 1 may change without approval); "
        "gains s3:PutObject on *; loses s3:GetObject on *; "
        "to approve it: rolekeeper mapping approve workload=web --revision 2 (revision 1 stays in effect)"
    )
    assert desk.gives(TAG) == ("web", 1)
    assert desk.sent() == []
    assert desk.world.events.kinds == ["Mapping Held"]
    assert [subject for subject, _ in desk.world.topic.mails] == ["Rolekeeper: Mapping Held: workload=web"]
    entry = desk.history(TAG)[-1]
    assert (entry["event"], entry["revision"], entry["changes"]) == ("Mapping Held", 2, ["role: web → api"])
    assert (entry["effect"]["replace"], entry["effect"]["gained"]) == (3, ["s3:PutObject on *"])


# ---- over all rows together ----

OTHER = "app=web"


@pytest.fixture
def two(desk: Desk) -> Desk:
    """Another row beside the first, with two instances; three changes pass without approval."""
    assert desk.edit(OTHER, role="web").status is Status.PUBLISHED
    for _ in range(2):
        desk.converged("web", app="web")
    desk.limits = Limits(3, 0)
    desk.quiet()
    return desk


def taken(desk: Desk) -> int:
    """What edits changed so far, as it is counted."""
    return int(desk.world.store.get([layout.EDITS]).get(layout.EDITS, {}).get("total", 0))


@pytest.mark.parametrize("seconds", [0, 30])
@pytest.mark.parametrize("expires", [{}, {"expires_at": "2026-12-01T00:00:00Z"}], ids=["now", "later"])
def test_of_two_that_are_judged_at_the_same_moment_one_is_held(
    two: Desk, expires: dict[str, str], seconds: int
) -> None:
    """Both see that nothing is counted; the one that writes later looks again."""
    role = "web" if expires else "api"
    two.put(TAG, role=role, **expires)
    two.put(OTHER, role=role, **expires)

    def meanwhile() -> None:
        two.world.wait(seconds)
        assert two.publish(OTHER).status is Status.PUBLISHED

    two.world.calls.before("TransactWriteItems", meanwhile)
    assert two.publish(TAG).status is Status.HELD
    assert (two.served(TAG).revision, two.served(OTHER).revision) == (1, 2)  # type: ignore[union-attr]  # published
    assert taken(two) == (0 if expires else 2)


ANY = "workload=*"
FORMER = {"role": "web", "priority": 200}
# Each changes nothing as long as the other row stays as it is; of ANY's, and of TAG's.
LEFT = {"another role": {"role": "api", "priority": 200}, "none": {"role": "NONE", "priority": 200}, "deleted": {}}
LEAVES = {
    "deleted": {},
    "disabled": {"role": "web", "enabled": False},
    "narrower": {"role": "web", "require_tags": {"a": "b"}},
}


@pytest.mark.parametrize("leaves", LEAVES.values(), ids=LEAVES)
@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
@pytest.mark.parametrize("first", [TAG, ANY])
def test_two_edits_that_leave_the_same_instances_to_each_other_are_judged_one_after_the_other(
    desk: Desk, left: dict[str, Any], leaves: dict[str, Any], first: str
) -> None:
    """Each is judged when the other row is in effect as it was, and then changes nothing."""
    assert desk.edit(ANY, **FORMER).status is Status.PUBLISHED
    for tag, columns in ((ANY, left), (TAG, leaves)):
        if columns:
            desk.put(tag, **columns)
        else:
            desk.delete(tag)
    second = TAG if first == ANY else ANY
    done = {Status.PUBLISHED, Status.REMOVED}
    desk.world.calls.before("TransactWriteItems", lambda: done.remove(desk.publish(first).status))
    assert desk.publish(second).status is Status.HELD
    assert len(done) == 1, "the first one"
    desk.world.reconcile(*(carriers := set(desk.sent_ids())))
    assert [desk.world.carries(instance) for instance in carriers] == ["web"] * 3


def test_an_edit_that_concerns_no_instance_is_judged_once_while_others_are_published(two: Desk) -> None:
    two.put("nobody=x", role="api")
    two.world.calls.before("TransactWriteItems", lambda: two.edit(OTHER, role="api"))
    assert two.publish("nobody=x").status is Status.PUBLISHED
    assert two.world.calls["TransactWriteItems"] == 2


@pytest.fixture
def split(two: Desk) -> Desk:
    """The second of two edits is held, as it is too large with the first; then the window ends."""
    two.edit(TAG, role="api")
    two.edit(OTHER, role="api")
    two.world.later(minutes=11)
    return two


def test_the_end_of_the_window_alone_publishes_nothing_that_was_held(split: Desk) -> None:
    assert split.recheck(OTHER).status is Status.HELD
    assert "within the same 10 minutes (5 together; 3 of 5 may change" in split.row(OTHER)["status_reason"]
    split.limits = Limits(5, 0)
    assert split.recheck(OTHER).status is Status.PUBLISHED
    assert taken(split) == 2, "what is over is counted no longer"


@pytest.mark.parametrize("count", ["total", "later"])
def test_a_count_that_cant_be_read_lets_nothing_through_and_says_which_item(two: Desk, count: str) -> None:
    two.world.store.write(two.world.store.update(layout.EDITS, Update().set({count: "garbled"})))
    two.put(TAG, role="api")
    with pytest.raises(CorruptItemError):
        two.publish(TAG)
    assert two.shows(TAG)[0] == "Waiting"
    assert "window#edits" in two.shows(TAG)[1]
    assert two.sent() == []


# ---- what an edit does later, or to instances without the tag ----


def test_an_expiry_that_takes_too_many_roles_is_held_and_its_approval_lets_them_all_go(desk: Desk) -> None:
    ends = desk.world.clock.now() + timedelta(days=300)
    verdict = desk.edit(TAG, role="web", expires_at=ends.isoformat())
    assert (verdict.status, verdict.held) == (Status.HELD, 2)
    assert desk.row(TAG)["status_reason"].startswith(
        f"it would change no instance, and at {ends:%Y-%m-%dT%H:%M:%SZ}, when it expires, "
        "detach 3 (3 of 3; 1 may change without approval); loses s3:GetObject on *"
    )
    assert [each["detach"] for each in desk.history(TAG)[-1]["effect"]["later"]] == [3]
    assert desk.approve(TAG, 2).status is Status.PUBLISHED
    assert credit(desk) == (3, 2)
    later = ends + timedelta(days=10)
    assert desk.edit(TAG, role="web", expires_at=later.isoformat()).status is Status.PUBLISHED, "it takes nothing away"
    assert desk.edit(TAG, role="web").status is Status.PUBLISHED
    sooner = desk.world.clock.now() + timedelta(seconds=45)
    assert desk.edit(TAG, role="web", expires_at=sooner.isoformat()).status is Status.HELD


def ending(desk: Desk, **after: float) -> str:
    """When something ends, as a row says it."""
    return f"{desk.world.clock.now() + timedelta(**after):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(("role", "would"), [("NONE", "detach 3"), ("api", "replace 3")])
def test_an_edit_that_takes_effect_when_another_row_expires_is_held_and_says_when(
    desk: Desk, role: str, would: str
) -> None:
    ends = ending(desk, seconds=75)
    desk.edit(TAG, role="web", priority=1, expires_at=ends)
    desk.approve(TAG, 2)
    assert desk.edit("workload=*", role=role, priority=100).status is Status.HELD
    nothing_now = "it would change no instance"
    assert desk.row("workload=*")["status_reason"].startswith(
        f"{nothing_now}, and at {ends}, when workload=web expires, {would} (3 of 3; 1 may change without approval)"
    )
    effect = desk.history("workload=*")[-1]["effect"]
    assert [(each["at"][:19] + "Z", each["expires"]) for each in effect["later"]] == [(ends, TAG)]
    assert effect["only_later"] == 3
    desk.approve("workload=*", 1)
    assert desk.world.store.get([layout.budget_key(mapping_key("workload=*"))]).popitem()[1][layout.credit_of(1)] == 3


def test_two_edits_that_change_instances_at_the_same_later_moment_add_up(two: Desk) -> None:
    ends, near, far = (ending(two, days=1, minutes=each) for each in (0, 9, 30))
    assert two.edit(TAG, role="web", expires_at=ends).status is Status.PUBLISHED
    two.world.later(hours=1)
    assert two.edit(OTHER, role="web", expires_at=near).status is Status.HELD
    assert "and other edits change 3 within the same 10 minutes (5 together;" in two.row(OTHER)["status_reason"]
    assert two.edit(OTHER, role="web", expires_at=far).status is Status.PUBLISHED
    counts = two.world.store.get([layout.EDITS])[layout.EDITS]
    assert sorted(counts["later"].values()) == [2, 3]
    assert counts["expires"] > (two.world.clock.now() + timedelta(hours=36)).timestamp(), "DynamoDB keeps it"
    two.world.later(days=1, minutes=30)
    assert two.edit("app=*", role="api").status is Status.PUBLISHED
    assert two.world.store.get([layout.EDITS])[layout.EDITS]["later"] == {}, "what has passed goes"


def test_what_edits_change_soon_counts_with_an_edit_of_now(two: Desk) -> None:
    assert two.edit(TAG, role="web", expires_at=ending(two, minutes=25)).status is Status.PUBLISHED
    two.world.later(minutes=20)
    assert two.edit(OTHER, role="api").status is Status.HELD


def test_roles_that_were_kept_without_the_tag_count_when_they_are_kept_no_longer(desk: Desk) -> None:
    """Of former revisions too, whose profile the row names no longer."""
    desk.world.large_pages()
    desk.limits = Limits(25, 0)
    desk.edit(TAG, role="web", when_unmatched="keep")
    kept = [desk.converged("web", workload="web") for _ in range(2)]
    for each in kept:
        desk.world.untag(each, "workload")
        desk.world.reconcile(each)
    desk.edit(TAG, role="api", when_unmatched="keep", enabled=False)
    desk.quiet()
    desk.edit(TAG, role="api", when_unmatched="keep", enabled=False, priority=7)
    assert desk.world.calls["DescribeInstances"] == 2, "to look at those with its tag, and to send them"
    desk.limits = Limits(4, 0)
    verdict = desk.edit(TAG, role="api", enabled=False)
    assert verdict.status is Status.HELD, "three with the tag, and two without"
    assert "detach 5 instances (5 of 5; 4 may change without approval)" in verdict.reason
    assert desk.remove(TAG).status is Status.REMOVED, "a tombstone keeps them"
    assert "detach 5" in desk.edit(TAG, role="api", enabled=False).reason


# ---- approved ----


def test_a_profile_that_was_made_anew_while_an_edit_was_held_is_published_as_it_is_now(desk: Desk) -> None:
    """Otherwise an instance that has the former one looks as it should be, and has no credentials."""
    desk.edit(TAG, role="api")
    held = desk.held(TAG)
    desk.iam.remove_role_from_instance_profile(InstanceProfileName="api", RoleName="api")
    desk.iam.delete_instance_profile(InstanceProfileName="api")
    made = desk.iam.create_instance_profile(InstanceProfileName="api", Path="/rolekeeper/")["InstanceProfile"]
    desk.iam.add_role_to_instance_profile(InstanceProfileName="api", RoleName="api")
    desk.approve(TAG, 2)
    now = desk.in_effect(TAG)
    assert held
    assert (now.revision, now.profile_id) == (2, made["InstanceProfileId"])
    assert now.profile_id != held.mapping.profile_id


def test_an_approval_pays_for_the_roles_that_are_taken_away_not_for_those_that_are_attached(desk: Desk) -> None:
    desk.world.running(workload="web")
    desk.edit(TAG, role="api")
    desk.approve(TAG, 2)
    assert credit(desk) == (3, 2)


@pytest.mark.parametrize("number", [1, 3])
def test_a_wrong_number_changes_nothing_and_is_told(desk: Desk, number: int) -> None:
    desk.edit(TAG, role="api")
    desk.quiet()
    assert not refused_because(desk, f"'AIDAGRACE' approved revision {number}, but 2 is held", number).changed


def test_columns_copied_from_a_held_row_hold_and_approve_nothing(desk: Desk) -> None:
    copied = {"status": "Held", "status_reason": "x", "status_revision": 1, "held_revision": 2, "matched": 3}
    assert desk.edit(TAG, role="api", **copied).status is Status.HELD
    held = desk.held(TAG)
    assert held
    assert held.mapping.revision == 2
    assert held.mapping.spec.role == "api"
    assert desk.approve(TAG, 2).status is Status.PUBLISHED


# ---- no longer too large ----


def raise_limit(desk: Desk) -> None:
    desk.limits = Limits(3, 0)


def raise_share(desk: Desk) -> None:
    desk.limits = Limits(1, 100)


def grow(desk: Desk) -> None:
    for _ in range(3):
        desk.world.running(Name="of nobody's concern")


def shrink(desk: Desk) -> None:
    for each in [one.key.id for page in desk.app().ec2.fleet() for one in page][1:]:
        desk.world.untag(each, "workload")


def test_a_change_that_ec2_refuses_gives_nothing_back_to_the_next_revision(desk: Desk) -> None:
    desk.edit(TAG, role="api")
    desk.approve(TAG, 2)
    desk.world.limits = Limits(0, 0)

    def approve_another() -> None:
        assert credit(desk) == (2, 2)
        desk.edit(TAG, role="NONE")
        desk.approve(TAG, 3)
        refusing("UnsupportedOperation", "not on this kind of instance")()

    desk.world.calls.before("ReplaceIamInstanceProfileAssociation", approve_another)
    desk.world.reconcile(desk.sent_ids()[0])
    assert credit(desk) == (3, 3)


@pytest.mark.parametrize("grows", [raise_limit, raise_share, grow, shrink])
def test_the_sweep_publishes_a_held_edit_once_it_is_within_the_limit(desk: Desk, grows: Callable[[Desk], None]) -> None:
    desk.limits = Limits(1, 50)
    desk.edit(TAG, role="api", edited_by="ada")
    assert desk.recheck(TAG).status is Status.HELD
    grows(desk)
    desk.quiet()
    assert desk.recheck(TAG).status is Status.PUBLISHED
    assert (desk.gives(TAG), desk.shows(TAG)) == (("api", 2), ("Published", "in effect", 2))
    assert "held_revision" not in desk.row(TAG)
    published = desk.history(TAG)[-1]
    assert (published["cause"], published["claimed_by"]) == ("it no longer needs approval", "ada")
    assert published["approved_by"] == ""
    assert credit(desk) == (0, 0), "nobody approved it, so the window limits it"
    assert desk.sent_ids()


def test_a_held_deletion_that_is_within_the_limit_goes_on_though_a_sweep_is_interrupted(desk: Desk) -> None:
    desk.remove(TAG)
    desk.limits = Limits(3, 0)
    desk.world.calls.before("DeleteItem", refusing("InternalServerError", status=500))
    with pytest.raises(Exception, match="InternalServerError"):
        desk.recheck(TAG)
    assert desk.recheck(TAG).status is Status.REMOVED
    assert (desk.row(TAG), desk.gives(TAG)) == ({}, ("", 2))
    assert desk.edit(TAG, role="web").revision == 3


# ---- edited and taken back ----


def test_what_is_held_stays_shown_while_aws_gives_no_answer(desk: Desk) -> None:
    desk.edit(TAG, role="api")
    desk.world.calls.before("DescribeInstances", refusing("RequestLimitExceeded", "slow down"))
    with pytest.raises(Exception, match="slow down"):
        desk.recheck(TAG)
    assert (desk.shows(TAG)[0], desk.row(TAG)["held_revision"]) == ("Held", 2)


# ---- by whom ----


def test_who_edited_and_who_approved_is_kept_and_leaves_the_row(desk: Desk) -> None:
    desk.edit(TAG, role="api", edited_by="ada")
    assert "edited_by" not in desk.row(TAG)
    held = desk.held(TAG)
    assert held
    assert held.by == "ada"
    desk.set(TAG, edited_by="mallory")
    desk.approve(TAG, 2)
    assert "edited_by" not in desk.row(TAG)
    revision = desk.revisions(TAG)[-1]
    assert (revision["claimed_by"], revision["cause"]) == ("ada", "approved")
    assert (revision["approved_by"], revision["approver_claims"]) == ("AIDAGRACE", "grace")
    assert [each["claimed_by"] for each in desk.history(TAG)][-2:] == ["ada", "ada"]
    [event] = [each for each in desk.world.events.named("Mapping Published") if each["revision"] == 2]
    assert (event["claimed-by"], event["approved-by"]) == ("ada", "AIDAGRACE")


# ---- signed ----


def refused_because(desk: Desk, reason: str, number: int = 2, **shown: Any) -> Verdict:
    """The approval is heard of; the row stays held, and says why it approves nothing."""
    verdict = desk.approve(TAG, number, **shown)
    assert verdict.status is Status.HELD
    assert desk.row(TAG)["status_reason"].endswith(f"(revision 1 stays in effect); {reason}")
    assert desk.gives(TAG) == ("web", 1)
    assert credit(desk) == (0, 0)
    return verdict


def test_what_somebody_signed_is_for_that_content_of_that_mapping_alone(desk: Desk) -> None:
    desk.edit(TAG, role="api")
    other = "'AIDAGRACE' approved another content or other accounts than revision 2 has"
    refused_because(desk, other, digest="")
    refused_because(desk, other, digest=7)
    held = desk.held(TAG)
    assert held
    shown = {"digest": held.digest, "changes": held.changes, "takes": held.takes}
    for tag in ("workload=web#2", "workload=*", "workload#=web"):
        desk.sign(tag, 2, "AIDA", **shown)
        desk.hears(TAG, "AIDA")
    assert desk.gives(TAG) == ("web", 1)
    assert desk.approve(TAG, 2, "AIDA").revision == 2


def test_an_approval_is_for_as_many_changes_as_it_names_and_as_may_be_unapproved(desk: Desk) -> None:
    desk.edit(TAG, role="api")
    refused_because(desk, "'AIDAGRACE' approved 1 changes, and it would make 3 now", changes=1)
    refused_because(desk, "'AIDAGRACE' approved 3 changes, and it would make 3 now", takes=1)
    refused_because(desk, "'AIDAGRACE' approved 0 changes, and it would make 3 now", changes="3")
    assert desk.approve(TAG, 2, changes=2).status is Status.PUBLISHED


def test_an_approval_that_is_gone_approves_nothing(desk: Desk) -> None:
    desk.edit(TAG, role="api")
    desk.retrust("api", TRUSTS_LAMBDA)
    desk.approve(TAG, 2)
    desk.world.store.write(desk.world.store.delete(layout.approval_key("AIDAGRACE", mapping_key(TAG))))
    desk.retrust("api", TRUSTS_EC2)
    assert desk.recheck(TAG).status is Status.HELD


def test_nobody_approves_what_they_claim_to_have_edited(desk: Desk) -> None:
    mallory, why = "arn:aws:iam::1:user/mallory", "edited_by says that the approver made this edit"
    desk.edit(TAG, role="api", edited_by=mallory)
    refused_because(desk, f"{why}: another person has to approve it", by="AIDAMALLORY", arn=mallory)
    assert desk.approve(TAG, 2, arn="arn:aws:iam::1:user/grace").status is Status.PUBLISHED
    published = desk.revisions(TAG)[-1]
    assert (published["claimed_by"], published["approved_by"]) == (mallory, "AIDAGRACE")


@pytest.mark.parametrize("editor", ["", "arn:aws:iam::1:root"])
def test_an_edit_without_a_name_or_by_the_account_s_root_may_be_anybody_s(desk: Desk, editor: str) -> None:
    desk.edit(TAG, role="api", **({"edited_by": editor} if editor else {}))
    assert desk.approve(TAG, 2, "1", editor).status is Status.PUBLISHED


@pytest.mark.parametrize("arn", [7, None, {"S": "x"}, "x" * 5_000])
def test_whatever_an_approver_writes_beside_their_key_holds_up_nothing(desk: Desk, arn: Any) -> None:
    desk.edit(TAG, role="api", edited_by="ada")
    assert desk.approve(TAG, 2, "AIDA", arn).status is Status.PUBLISHED
    assert len(desk.revisions(TAG)[-1]["approver_claims"]) <= 1_024


def test_a_deletion_is_approved_by_its_own_digest_only(desk: Desk) -> None:
    desk.edit(TAG, role="api")
    held = desk.held(TAG)
    assert held
    desk.edit(TAG, role="web")
    desk.remove(TAG)
    other = "'AIDAGRACE' approved another content or other accounts than revision 3 has"
    refused_because(desk, other, 3, digest=held.digest)
    assert desk.approve(TAG, 3).status is Status.REMOVED
    assert desk.history(TAG)[-1]["approved_by"] == "AIDAGRACE"
    assert desk.history(TAG)[-1]["reason"] == "its row was deleted, as approved"


# ---- a deletion that would change too much ----


def test_a_deletion_that_would_change_too_much_is_undone_and_held(desk: Desk) -> None:
    desk.amend(TAG, owner="ada")
    desk.quiet()
    desk.delete(TAG)
    verdict = desk.publish(TAG, claimed_by="ada")
    assert (verdict.status, verdict.held) == (Status.HELD, 3)
    row = desk.row(TAG)
    assert (row["role"], row["owner"]) == ("web", "ada")
    assert (row["status"], row["held_revision"], row["status_revision"], row["matched"]) == ("Held", 3, 2, 3)
    assert row["status_reason"] == (
        "deleting it would detach 3 instances (3 of 3; 1 may change without approval); "
        "loses s3:GetObject on *; to delete it: rolekeeper mapping approve workload=web --revision 3; "
        "to keep it: rolekeeper mapping discard workload=web (revision 2 stays in effect)"
    )
    assert desk.gives(TAG) == ("web", 2)
    assert desk.sent() == []
    assert desk.world.events.kinds == ["Mapping Held"]
    entry = desk.history(TAG)[-1]
    assert (entry["changes"], entry["claimed_by"], entry["effect"]["detach"]) == (["the row was deleted"], "ada", 3)


def test_who_edits_while_a_verdict_is_written_is_not_taken_away_unnoticed(desk: Desk) -> None:
    desk.put(TAG, role="wbe", edited_by="ada")
    desk.world.calls.before("UpdateItem", partial(desk.set, TAG, role="nobody", edited_by="grace"))
    desk.publish(TAG)
    assert {each["claimed_by"] for each in desk.history(TAG)} >= {"ada", "grace"}
    assert "role 'nobody'" in desk.shows(TAG)[1]


# ---- discarded ----


def test_a_held_edit_that_is_discarded_leaves_what_is_in_effect_and_no_instance_changes(desk: Desk) -> None:
    desk.edit(TAG, role="api", edited_by="ada")
    desk.quiet()
    assert desk.discard(TAG).status is Status.PUBLISHED
    assert (desk.shows(TAG), desk.gives(TAG)) == (("Published", "in effect", 1), ("web", 1))
    assert "held_revision" not in desk.row(TAG)
    sent = desk.sent_ids()
    desk.world.calls.clear()
    desk.world.reconcile_all(*sent)
    assert [each for each in desk.world.calls.made if each in MUTATIONS] == []
    assert desk.world.events.kinds == ["Mapping Discarded", "Mapping Published"]
    discarded = desk.history(TAG)[-2]
    assert (discarded["event"], discarded["status"], discarded["revision"]) == ("Mapping Discarded", "Discarded", 2)
    assert desk.approve(TAG, 2).status is Status.PUBLISHED
    assert desk.gives(TAG) == ("web", 1)


@pytest.mark.parametrize("asked", ["approved", "discarded"])
def test_an_edit_that_is_held_while_another_is_approved_or_discarded_waits_by_itself(desk: Desk, asked: str) -> None:
    """The judge is about to write how revision 2 ended; by then it is revision 3 that is held."""
    desk.edit(TAG, role="api")
    desk.sign(TAG, 2)
    if asked == "discarded":
        desk.take_back(TAG)
    # An approval's run notes first who signed.
    run, first = (desk.hears, "GetItem") if asked == "approved" else (desk.publish, "TransactWriteItems")
    desk.world.calls.before(first, lambda: desk.edit(TAG, role="NONE"))
    assert run(TAG).held == 3
    held = desk.held(TAG)
    assert held
    assert (held.mapping.revision, held.outcome, desk.gives(TAG)) == (3, "", ("web", 1))
    assert desk.approve(TAG, 3).status is Status.PUBLISHED
    assert desk.gives(TAG) == ("NONE", 3)
