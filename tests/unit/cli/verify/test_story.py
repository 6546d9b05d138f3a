"""What the story of a verification reads of CloudTrail's records, and its race with follow-ups.

The rest of it is played on the embedded AWS.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.ec2 import client_error
from fixtures.account import ACCOUNT, REGION
from rolekeeper.aws.errors import RetryableError
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Association, AssociationState, InstanceState, Target
from rolekeeper.model.problem import Reason, ReasonCode, details, sentence
from rolekeeper.storage import layout
from rolekeeper_cli.instance.view import CallView, RoleUseView, UptakeView
from rolekeeper_verify import story
from rolekeeper_verify.story import StepFailedError, StepSkippedError, Story
from support.views import view_with

ROLE = f"arn:aws:iam::{ACCOUNT}:role/a"
SINCE = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)


def held(
    delivered: float | None = None, used: float | None = None, since: datetime | None = SINCE, *, carried: bool = True
) -> RoleUseView:
    """A role with what was recorded, in seconds since it was attached."""
    use = None
    if used is not None:
        use = CallView(at=SINCE + timedelta(seconds=used), action="sts:GetCallerIdentity", agent="a", refused=None)
    at = None if delivered is None else SINCE + timedelta(seconds=delivered)
    both = {"first_use": use, "last_use": use}
    return view_with(RoleUseView, role="a", carried=carried, since=since, delivered_at=at, **both)


def looked_at(app: Any = None, *, is_over: bool) -> Any:
    """A deployment whose patience is over at the first look, or never."""
    look = SimpleNamespace(is_over=is_over)
    settings = SimpleNamespace(mapping_table="")
    return SimpleNamespace(app=app, settings=settings, now=lambda: SINCE, looks=lambda *_: repeat(look))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A story of which nothing is asked."""
    deployment = SimpleNamespace(settings=Target(ACCOUNT, REGION), now=lambda: SINCE, sleep=None)
    monkeypatch.setattr(story, "Aws", lambda _deployment: None)
    names = SimpleNamespace(role=str, tag_key="key", alarm="halt")
    profiles = {each: f"profile/{each}" for each in ("a", "b", "foreign")}
    scene: Any = SimpleNamespace(deployment=deployment, names=names, profiles=profiles)
    return Story(scene, 180, 600, a="i-a", b="i-b")


@contextmanager
def fails(match: str) -> Iterator[None]:
    """A step does, for that reason; if it is empty, the step passes."""
    with pytest.raises(StepFailedError, match=match) if match else nullcontext():
        yield


def records(monkeypatch: pytest.MonkeyPatch, *roles: RoleUseView, unknown: str = "") -> None:
    found = view_with(UptakeView, roles=roles, unknown_because=unknown or None)
    monkeypatch.setattr(story, "of_instance", lambda _deployment, _key, _name: found)


def test_delivery_and_use_take_the_seconds_since_the_role_was_attached(
    played: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    records(monkeypatch, held(delivered=3, used=21))
    assert (played.delivered(), played.in_use()) == (3, 21)


@pytest.mark.parametrize("roles", [(), (held(),), (held(3, 21, since=None),)])
def test_without_a_record_the_steps_are_skipped(
    played: Any, monkeypatch: pytest.MonkeyPatch, roles: tuple[RoleUseView, ...]
) -> None:
    records(monkeypatch, *roles)
    played.trail_until = SINCE
    for step in (played.delivered, played.in_use):
        with pytest.raises(
            StepSkippedError, match=r"^not in CloudTrail's .* 600 seconds.*--trail-patience waits longer$"
        ):
            step()


@pytest.mark.parametrize(("seconds", "late"), [(59, False), (61, True)])
def test_calls_and_deliveries_of_a_former_role_after_it_was_replaced_fail_the_steps(
    played: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, *, late: bool
) -> None:
    """That is no record that is late: a process that starts after a replace has the new role."""
    former = held(delivered=seconds, used=seconds, carried=False)
    assert former.first_use
    records(monkeypatch, held(), former.but(first_use=former.first_use.but(at=SINCE)))
    played.trail_until = SINCE
    for step, what in ((played.delivered, "EC2 got credentials of"), (played.in_use, "the instance called with")):
        with pytest.raises(StepFailedError if late else StepSkippedError, match=what if late else "not in Cloud"):
            step()
    played.given = SINCE + timedelta(seconds=30)  # by the story itself, for a moment
    with pytest.raises(StepSkippedError):
        played.in_use()


def test_a_call_that_was_refused_is_no_use(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = held(delivered=3, used=21)
    assert found.first_use
    refused = found.first_use.but(refused="ExpiredToken")
    played.trail_until = SINCE
    records(monkeypatch, found.but(first_use=refused, last_use=refused))
    with pytest.raises(StepSkippedError):
        played.in_use()
    records(monkeypatch, found.but(first_use=refused))
    assert played.in_use() == 21


def test_a_record_that_comes_late_is_waited_for(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    records(monkeypatch)
    monkeypatch.setattr(played.deployment, "sleep", lambda _seconds: records(monkeypatch, held(delivered=3)))
    assert played.delivered() == 3


def test_without_an_answer_the_steps_say_why(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    records(monkeypatch, unknown="you aren't allowed cloudtrail:LookupEvents")
    with pytest.raises(StepSkippedError, match="LookupEvents"):
        played.in_use()


def test_a_role_that_a_follow_up_gives_back_unseen_is_taken_again(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = iter([carried("1", "b"), carried("2", "b"), carried("2", "b"), None, carried("3", "b")])
    swept = iter([None, SimpleNamespace(sent=1)])
    taken: list[str] = []
    entries = iter([{}, {}, {"cause": "sweep"}, {"cause": "sweep"}])
    played.deployment = looked_at(is_over=True)
    played.aws = SimpleNamespace(call=lambda _action, **asked: taken.append(asked["AssociationId"]))
    monkeypatch.setattr(played, "association", lambda _instance: next(shown))
    monkeypatch.setattr(played, "_newest", lambda: next(entries))
    monkeypatch.setattr(story, "sweep", lambda *_, **__: next(swept))
    assert played.sweep() == 0
    assert taken == ["1", "2"]


# ---- what else would make a step pass ----


def carried(id_: str, name: str) -> Association:
    return Association(id_, "i-1", f"profile/{name}", AssociationState.ASSOCIATED)


class Changer:
    """EC2 as the function: `own` answers its calls for its own roles, one after the other, `foreign` all others.

    An empty code stands for a call that is accepted.
    """

    def __init__(self, foreign: str, own: Iterator[str]) -> None:
        self._foreign, self._own = foreign, own
        self.gave = "b"

    def replace_iam_instance_profile_association(self, AssociationId: str, IamInstanceProfile: Any) -> None:  # noqa: N803  # boto3's own names
        name = IamInstanceProfile["Arn"].rpartition("/")[2]
        self._answer(self._foreign if name == "foreign" else next(self._own))
        self.gave = name
        del AssociationId

    def disassociate_iam_instance_profile(self, **_: Any) -> None:
        self._answer(self._foreign)

    associate_iam_instance_profile = disassociate_iam_instance_profile

    def _answer(self, code: str) -> None:
        if code:
            raise client_error(code)


@pytest.mark.parametrize(
    ("foreign", "own", "why"),
    [
        ("UnauthorizedOperation", [], ""),
        ("", [], "IAM allows ec2:Disassociate"),
        *((code, [], f"EC2 answers {code}") for code in ("AuthFailure", "ExpiredToken", "OptInRequired")),
        *((code, [], f"EC2 answers {code}") for code in ("InvalidClientTokenId", "IncorrectState")),
        ("UnauthorizedOperation", ["UnauthorizedOperation"], "the function may not do what it has to"),
        ("UnauthorizedOperation", ["", "", "AuthFailure"], "the function may not do what it has to"),
    ],
)
def test_a_refusal_counts_by_its_code_and_between_calls_that_are_allowed(
    played: Any, monkeypatch: pytest.MonkeyPatch, foreign: str, own: list[str], why: str
) -> None:
    changer = played.changer = Changer(foreign, chain(own, repeat("")))
    played.deployment = looked_at(is_over=True)
    monkeypatch.setattr(played, "association", lambda of: carried("1", "foreign" if of == "i-b" else changer.gave))
    monkeypatch.setattr(played, "_stays", lambda *_: None)
    with fails(why):
        played.iam()
    assert changer.gave == "b" or why


def verdict(status: str, *why: Reason) -> dict[str, Any]:
    """What a row says of itself."""
    return layout.to_attributes({"status": status, "status_reason": sentence(why), "status_details": details(why)})


ROLLS, BACK = ("Rolling out", "i-b"), ("Published", "i-b")


@pytest.mark.parametrize(
    ("edit", "alarm", "back", "why"),
    [
        (ROLLS, "halt", BACK, ""),
        (BACK, "halt", BACK, "the row key=b is Published, and not Rolling out"),
        (("Rolling out", ""), "halt", BACK, "EC2 shows another role on one of both"),
        (("Rolling out", "i-a i-b"), "halt", BACK, r"EC2 shows a \(.*\) on i-b, and not b \(.*\) as before"),
        (ROLLS, "", BACK, "the row key=b is Halted"),
        (ROLLS, "another", BACK, "is Halted for another reason"),
        (ROLLS, "halt", ("gap", "i-b"), "for a moment EC2 showed no role on i-b"),
        (ROLLS, "halt", ("Held", "i-b"), "the row key=b is Published"),
        (ROLLS, "halt", ("Published", ""), "EC2 shows b on i-b as associated"),
        (ROLLS, "halt", ("Published", "i-a i-b"), r"EC2 shows b \(.*\) on i-a, and not b \(.*\) as before"),
    ],
)
def test_waves_fail_at_each_promise_that_isn_t_kept(
    played: Any, monkeypatch: pytest.MonkeyPatch, *, edit: Any, alarm: str, back: Any, why: str
) -> None:
    """`edit` and `back` are what the row says of each, and whose role they change; `alarm` is which one halts it."""
    row, shown = dict[str, Any](), dict[str, Association | None]({"i-a": carried("1", "b")})

    def call(action: str, **asked: Any) -> None:
        if action == "ec2:CreateTags":
            shown["i-b"] = carried("1", "b")
        elif action == "dynamodb:PutItem":
            status, changes = edit if "rollout" in asked["Item"] else back
            role = None if status == "gap" else carried("2", asked["Item"]["role"]["S"])
            shown.update(dict.fromkeys(changes.split(), role))
            row.update(verdict(status))
        elif alarm:
            row.update(verdict("Halted", ReasonCode.ALARM_RINGS(wave=1, waves=2, alarm=alarm)))

    played.aws = SimpleNamespace(call=call)
    played.deployment = looked_at(SimpleNamespace(table=SimpleNamespace(get_row=lambda _: row)), is_over=True)
    played.association, played.free_b, played._stays = shown.get, lambda: None, played._is_still  # noqa: SLF001  # a look is enough
    monkeypatch.setattr(story, "allow_no_change", lambda _: None)
    with fails(why):
        played.waves()


@pytest.mark.parametrize("step", ["restart", "foreign_mapped", "none", "free", "terminate_a", "sweep"])
def test_a_step_about_a_role_fails_where_there_is_none_to_begin_with(
    played: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Nothing would be kept, or detached, and the step would pass."""
    monkeypatch.setattr(played, "association", lambda _: None)
    monkeypatch.setattr(played, "_newest", dict)
    with pytest.raises(StepFailedError, match="EC2 no longer shows a role"):
        getattr(played, step)()


def test_an_instance_that_ec2_doesn_t_show_yet_is_waited_for(played: Any) -> None:
    shown = iter([{}, {}, {"i-1": SimpleNamespace(state=InstanceState.STOPPED)}])
    app = SimpleNamespace(ec2=SimpleNamespace(instances=lambda _: next(shown)))
    played.deployment = looked_at(app, is_over=False)
    played.becomes("i-1", InstanceState.STOPPED)


@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        ("Rejected", ReasonCode.MISSING(what="role 'x' doesn't exist", account="1"), ""),
        ("Rejected", ReasonCode.MISSING(what="role 'y' doesn't exist", account="1"), "for another reason"),
        ("Rejected", ReasonCode.PROBLEM(what="nobody may read role 'x'"), "is Rejected for another reason"),
        ("Published", ReasonCode.IN_EFFECT(), "is Published, and not Rejected"),
    ],
)
def test_a_verdict_for_another_reason_is_none(played: Any, status: str, said: Reason, why: str) -> None:
    app = SimpleNamespace(table=SimpleNamespace(get_row=lambda _: verdict(status, said)))
    played.deployment = looked_at(app, is_over=True)
    with fails(why):
        played._row_becomes("a", Status.REJECTED, ReasonCode.MISSING(what="role 'x' doesn't exist"))  # noqa: SLF001  # a part of two steps


def test_an_answer_that_is_throttled_isn_t_the_last_word(played: Any) -> None:
    answers = iter([RetryableError("RequestLimitExceeded", ""), None])

    def holds() -> bool:
        if error := next(answers):
            raise error
        return True

    played.deployment = looked_at(is_over=False)
    played.until("it holds", holds)
