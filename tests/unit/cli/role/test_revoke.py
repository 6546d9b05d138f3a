"""revoke: what an instance got of a former role is denied, whatever clock, person or policy is in the way."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from fixtures.account import ACCOUNT, REGION, refusing
from fixtures.mappings import Desk, mapping_file
from fixtures.spokes import SpokeFixture
from fixtures.terminal import Terminal, far_from_utc
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Target
from rolekeeper.permissions.comparison import Difference

pytestmark = pytest.mark.usefixtures("web_and_db")

POLICY = "rolekeeper-revoked"
HOURS = 3_600
WEB, DB = (f"arn:aws:iam::{ACCOUNT}:role/rolekeeper/{name}" for name in ("web", "db"))


class Iam:
    """IAM's own clock, which runs ahead of the machine's by `ahead`, and the policy of each role."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.ahead = timedelta(0)
        desk.iam.meta.events.register_first("after-call.iam", self._date)

    def _date(self, parsed: Any, **_: object) -> None:
        parsed["ResponseMetadata"]["HTTPHeaders"]["date"] = format_datetime(self.now, usegmt=True)

    @property
    def now(self) -> datetime:
        return self._desk.world.clock.now() + self.ahead

    def role_id(self, role: str) -> str:
        return str(self._desk.iam.get_role(RoleName=role)["Role"]["RoleId"])

    def statement(self, role: str, instance: str, *, ago: float = 0) -> dict[str, Any]:
        """The statement of a revocation so many seconds ago."""
        return denied(self.role_id(role), instance, self.now - timedelta(seconds=ago))

    def write(self, role: str, *statements: Any) -> None:
        """A person writes the policy."""
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        self._desk.iam.put_role_policy(RoleName=role, PolicyName=POLICY, PolicyDocument=document)

    def statements(self, role: str) -> list[Any]:
        """Those of the policy; none if there is no policy."""
        if POLICY not in self._desk.iam.list_role_policies(RoleName=role)["PolicyNames"]:
            return []
        document: Any = self._desk.iam.get_role_policy(RoleName=role, PolicyName=POLICY)["PolicyDocument"]
        return list(document["Statement"])

    def revoked(self, role: str) -> dict[str, datetime]:
        """Each instance that is denied what it got before a time."""
        return {
            each["Condition"]["StringEquals"]["aws:userid"].partition(":")[2]: datetime.fromisoformat(
                each["Condition"]["DateLessThan"]["aws:TokenIssueTime"]
            )
            for each in self.statements(role)
        }


def denied(role_id: str, instance: str, before: datetime) -> dict[str, Any]:
    """The statement as it is agreed."""
    return {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {
            "StringEquals": {"aws:userid": f"{role_id}:{instance}"},
            "DateLessThan": {"aws:TokenIssueTime": f"{before:%Y-%m-%dT%H:%M:%SZ}"},
        },
    }


PRINTS = ("--dry-run", "-o", "json", "--query", "revoked[0].document")
OTHERS: Any = {"Sid": "Mine", "Effect": "Deny", "Action": "s3:*", "Resource": "*"}


@pytest.fixture
def iam(desk: Desk) -> Iam:
    return Iam(desk)


@pytest.fixture
def moved(desk: Desk) -> str:
    """An instance whose tag led from web to db a minute ago."""
    desk.edit("app=web", role="web")
    desk.edit("app=db", role="db")
    instance = desk.converged("web", app="web", Name="web-1")
    desk.world.profile("db")
    desk.world.tag(instance, app="db")
    desk.world.reconcile(instance)
    desk.world.wait(60)
    assert desk.world.carries(instance) == "db"
    return instance


# ---- which roles ----


def test_the_former_role_is_revoked_and_the_present_one_stays(terminal: Terminal, iam: Iam, moved: str) -> None:
    found = terminal.document("revoke", "web-1")
    [revoked] = found["revoked"]
    assert (found["instance"], found["account"], found["region"], found["left"]) == (moved, ACCOUNT, REGION, [])
    assert (revoked["role"], revoked["policy"]) == ("web", POLICY)
    assert revoked["role_arn"] == WEB
    assert revoked["document"]["Statement"] == iam.statements("web")
    assert {moved: datetime.fromisoformat(revoked["before"])} == iam.revoked("web")
    assert iam.statements("db") == []


def test_an_instance_that_ended_is_known_by_its_id(terminal: Terminal, desk: Desk, iam: Iam, moved: str) -> None:
    terminal.trail.delivered(DB, moved)
    desk.world.truth.terminate(moved)
    desk.world.later(hours=2)
    assert terminal("revoke", moved).exit_code == 0
    assert list(iam.revoked("web")) == [moved]
    assert list(iam.revoked("db")) == [moved], "its own role is a former one by now"


def test_what_is_over_needs_no_revocation(terminal: Terminal, desk: Desk, iam: Iam, moved: str) -> None:
    desk.world.later(hours=6, minutes=50)
    ran = terminal("revoke", moved)
    assert ran.exit_code == 1
    assert f"no former role is known whose credentials {moved} may have; it still carries db" in ran.stderr
    assert f"rolekeeper detach {moved}" in ran.stderr
    assert iam.statements("web") == []


def test_a_role_that_another_actor_attached_is_known_by_its_deliveries(
    terminal: Terminal, desk: Desk, iam: Iam, moved: str
) -> None:
    desk.role("theirs")
    terminal.trail.delivered(f"arn:aws:iam::{ACCOUNT}:role/rolekeeper/theirs", moved)
    assert terminal("revoke", moved).exit_code == 0
    assert (list(iam.revoked("web")), list(iam.revoked("theirs"))) == ([moved], [moved])


def test_where_cloudtrail_cant_be_asked_it_says_what_that_leaves_open(terminal: Terminal, iam: Iam, moved: str) -> None:
    terminal.trail.refuses = "AccessDeniedException"
    ran = terminal("revoke", moved)
    assert ran.exit_code == 0
    because = "you aren't allowed cloudtrail:LookupEvents"
    assert f"roles that another actor attached aren't known: {because}" in " ".join(ran.stderr.split())
    assert list(iam.revoked("web")) == [moved]
    assert terminal.document("revoke", moved)["unknown_because"] == because
    assert f"may have ({because})" in terminal("revoke", "i-0123456789abcdef0").stderr


def test_a_named_role_needs_no_history(terminal: Terminal, iam: Iam) -> None:
    ran = terminal("revoke", "i-0123456789abcdef0", "--role", "web")
    assert ran.exit_code == 0, ran.output
    assert list(iam.revoked("web")) == ["i-0123456789abcdef0"]
    ran = terminal("revoke", "i-0123456789abcdef0")
    assert (ran.exit_code, "rolekeeper revoke i-0123456789abcdef0 --role ROLE" in ran.stderr) == (1, True)
    assert "did you mean web?" in terminal("revoke", "i-0123456789abcdef0", "--role", "wbe").stderr


def test_a_profile_that_is_gone_leaves_a_role_to_a_person(terminal: Terminal, desk: Desk, iam: Iam, moved: str) -> None:
    desk.iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="web")
    desk.iam.delete_instance_profile(InstanceProfileName="web")
    ran = terminal("revoke", moved)
    assert (ran.exit_code, "the role of the instance profile web isn't known" in ran.stderr) == (1, True)
    assert iam.statements("web") == []


def test_a_former_role_that_is_gone_holds_up_no_other(terminal: Terminal, iam: Iam, moved: str) -> None:
    """Nothing is left of its credentials."""
    terminal.trail.delivered(f"arn:aws:iam::{ACCOUNT}:role/rolekeeper/gone", moved)
    assert terminal.document("revoke", moved)["left"] == []
    assert list(iam.revoked("web")) == [moved]


@pytest.fixture
def two_former(terminal: Terminal, desk: Desk, moved: str) -> str:
    """The same instance once it carries neither role."""
    terminal.trail.delivered(DB, moved)
    desk.world.detach_by_hand(moved)
    desk.world.wait(2)
    return moved


@pytest.mark.parametrize("code", ["LimitExceeded", "MalformedPolicyDocument", "NoSuchEntity"])
def test_a_role_that_cant_be_written_holds_up_no_other(
    terminal: Terminal, desk: Desk, iam: Iam, two_former: str, code: str
) -> None:
    desk.world.calls.before("PutRolePolicy", refusing(code, "no", status=409))
    found = terminal.document("revoke", two_former, code=1)
    [revoked], [left] = found["revoked"], found["left"]
    assert (f"{POLICY} of role " if code == "LimitExceeded" else code) in left
    assert [each for each in ("web", "db") if iam.statements(each)] == [revoked["role"]]


def test_a_role_that_cant_be_read_holds_up_no_other(terminal: Terminal, desk: Desk, iam: Iam, two_former: str) -> None:
    def refuse_db(params: Any, **_: object) -> None:
        if params["body"]["RoleName"] == "db":
            refusing("AccessDenied", "not authorized")()

    desk.iam.meta.events.register_last("before-call.iam.GetRole", refuse_db)
    found = terminal.document("revoke", two_former, code=1)
    assert "iam:GetRole" in found["left"][0]
    assert list(iam.revoked("web")) == [two_former]


def test_who_stops_it_in_between_sees_what_is_revoked(terminal: Terminal, iam: Iam, two_former: str) -> None:
    once_written(terminal, lambda: once_written(terminal, stop))
    ran = terminal("revoke", two_former)
    assert ran.exit_code == 130
    assert "Warning: stopped in between; done by then: db. One more may be written" in " ".join(ran.stderr.split())
    assert list(iam.revoked("db")) == [two_former]


# ---- a role that it still carries ----


@pytest.mark.parametrize("role", ["web", "db"])
def test_a_role_that_it_carries_is_refused(terminal: Terminal, desk: Desk, iam: Iam, moved: str, role: str) -> None:
    """By EC2's own answer: another person may have put the former one back, and it may be associating."""
    desk.world.attach_by_hand(moved, role)
    ran = terminal("revoke", moved, "--role", role)
    assert ran.exit_code == 1
    assert f"{moved} still carries {role}" in ran.stderr
    assert f"rolekeeper detach {moved}; in an incident, --current" in ran.stderr
    assert iam.statements(role) == []


def test_a_role_that_is_given_back_while_a_person_is_asked_is_refused_too(
    terminal: Terminal, desk: Desk, iam: Iam, moved: str
) -> None:
    desk.world.calls.before("ListInstanceProfilesForRole", lambda: desk.world.attach_by_hand(moved, "web"))
    ran = terminal.types("y\n", "revoke", moved)
    assert (ran.exit_code, f"{moved} still carries web" in ran.stderr) == (1, True)
    assert iam.statements("web") == []


def test_in_an_incident_the_present_role_is_revoked_too(terminal: Terminal, iam: Iam, moved: str) -> None:
    ran = terminal.types("y\n", "revoke", moved, "--current")
    assert ran.exit_code == 0, ran.output
    assert (list(iam.revoked("web")), list(iam.revoked("db"))) == ([moved], [moved])
    told = " ".join(ran.stderr.split())
    assert "The instance itself loses its access as db, until IMDS hands out new credentials, up to an hour" in told
    assert "Anyone who is on the instance gets the new ones." in told
    assert "No other instance carries db in us-east-1." in told


# ---- what is written ----


@pytest.mark.parametrize("minutes", [-10, 0, 10])
def test_the_time_is_aws_s_and_not_the_machine_s(terminal: Terminal, iam: Iam, moved: str, minutes: int) -> None:
    iam.ahead = timedelta(minutes=minutes)
    began = iam.now
    with far_from_utc():
        assert terminal("revoke", moved).exit_code == 0
    before = iam.revoked("web")[moved]
    assert began < before <= began + timedelta(seconds=2), "what was issued within this second goes too"


def test_a_second_revocation_replaces_the_first_and_leaves_those_of_others(
    terminal: Terminal, iam: Iam, moved: str
) -> None:
    theirs, over = (iam.statement("web", f"i-0{name}", ago=hours * HOURS) for name, hours in (("aa", 5), ("bb", 7)))
    iam.write("web", OTHERS, over, theirs, iam.statement("web", moved, ago=HOURS))
    assert terminal("revoke", moved).exit_code == 0
    *kept, mine = iam.statements("web")
    assert kept == [OTHERS, theirs]
    assert mine["Condition"]["StringEquals"] == {"aws:userid": f"{iam.role_id('web')}:{moved}"}


@pytest.mark.parametrize("year", [2031, 9999])
def test_a_later_time_that_a_person_wrote_stays(terminal: Terminal, iam: Iam, moved: str, year: int) -> None:
    last = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    mine, theirs = (denied(iam.role_id("web"), each, last) for each in (moved, "i-0aa"))
    iam.write("web", iam.statement("web", "i-0bb", ago=7 * HOURS), theirs, mine)
    ran = terminal("revoke", moved)
    assert (ran.exit_code, f"got before {year}-12-31T23:59:59Z." in ran.stdout) == (0, True)
    assert iam.statements("web") == [theirs, mine]
    iam.write("web", iam.statement("web", "i-0bb", ago=7 * HOURS), theirs, mine)
    assert [each["removed"] for each in terminal.document("roles", "clean-revoked")] == [["i-0bb"]]
    assert iam.statements("web") == [theirs, mine]


def test_statements_of_another_shape_are_kept_however_old(terminal: Terminal, iam: Iam, moved: str) -> None:
    ours = denied(iam.role_id("web"), "i-0aa", datetime(2020, 1, 1))  # noqa: DTZ001  # it is only written
    condition = ours["Condition"]
    two = {"StringEquals": {"aws:userid": [f"{iam.role_id('web')}:i-0aa", f"{iam.role_id('web')}:i-0bb"]}}
    written = [
        {**ours, "Sid": "Mine"},
        {**ours, "Effect": "Allow"},
        {**ours, "Action": ["*"]},
        {**ours, "Condition": {"DateLessThan": condition["DateLessThan"]}},  # of all instances
        {**ours, "Condition": {**condition, "DateLessThan": {"aws:TokenIssueTime": "1577836800"}}},
        {**ours, "Condition": {**condition, **two}},
    ]
    iam.write("web", *written)
    for line in (["revoke", moved], ["roles", "clean-revoked"]):
        assert terminal(*line).exit_code == 0
        assert iam.statements("web")[:-1] == written


def test_a_policy_that_cant_be_read_isnt_written_over(terminal: Terminal, desk: Desk, iam: Iam, moved: str) -> None:
    iam.write("web", OTHERS)

    def garble(parsed: Any, **_: object) -> None:
        parsed["PolicyDocument"] = "not JSON"

    desk.iam.meta.events.register_last("after-call.iam.GetRolePolicy", garble)
    ran = terminal("revoke", moved)
    assert ran.exit_code == 1
    assert f"the policy {POLICY} of role web can't be read, so nothing is written over it" in ran.stderr
    assert f"aws iam get-role-policy --role-name web --policy-name {POLICY}" in ran.stderr
    assert "PutRolePolicy" not in desk.world.calls.made[desk.world.calls.made.index("GetRolePolicy") :]
    ran = terminal("roles", "clean-revoked")
    assert (ran.exit_code, f"the policy {POLICY} of role web can't be read" in ran.stderr) == (1, True)


# ---- asking ----


def test_a_person_sees_the_policy_and_who_else_carries_the_role_before_the_question(
    terminal: Terminal, desk: Desk, iam: Iam, moved: str
) -> None:
    """IAM gives a role's profiles in pages."""
    for number in range(4):
        desk.iam.create_instance_profile(InstanceProfileName=f"web-{number}", Path="/rolekeeper/")
        desk.iam.add_role_to_instance_profile(InstanceProfileName=f"web-{number}", RoleName="web")
        desk.world.profile(f"web-{number}")
    others = [desk.world.running(profile=f"web-{number}") for number in range(4)]
    ran = terminal.types("n\n", "revoke", moved)
    assert ran.exit_code == 1
    told, _, _ = ran.stderr.partition(f"Revoke these credentials of {moved} (web-1)? [y/N]")
    assert f'"aws:userid": "{iam.role_id("web")}:{moved}"' in told
    kept = f"Other instances that carry web in us-east-1, and keep their access: 4 ({', '.join(others)})."
    assert kept in " ".join(told.split())
    assert iam.statements("web") == []
    desk.world.calls.before("ListInstanceProfilesForRole", refusing("AccessDenied"))
    ran = terminal.types("y\n", "revoke", moved)
    assert "you aren't allowed iam:ListInstanceProfilesForRole to see which." in ran.stderr
    assert list(iam.revoked("web")) == [moved]


# ---- what IAM refuses ----


def test_a_role_outside_the_path_is_only_printed(terminal: Terminal, desk: Desk, iam: Iam, moved: str) -> None:
    desk.role("theirs", path="/")
    ran = terminal("revoke", moved, "--role", "theirs")
    assert ran.exit_code == 1
    told = " ".join(ran.stderr.split())
    assert "role theirs is at the path /, and Rolekeeper writes under /rolekeeper/ only" in told
    assert f"rolekeeper revoke {moved} --role theirs --dry-run -o json --query 'revoked[0].document' > FILE" in told
    assert iam.statements("theirs") == []
    ran = terminal("revoke", moved, "--role", "theirs", "--dry-run")
    assert (ran.exit_code, f"{POLICY} of role theirs:" in ran.stderr) == (1, True)


@pytest.mark.parametrize(
    ("code", "message", "exit_code", "says"),
    [
        (
            "AccessDenied",
            f"User: me is not authorized to perform: iam:PutRolePolicy on resource: role {WEB}",
            254,
            [f"you aren't allowed iam:PutRolePolicy on {WEB}", "rolekeeper guard revokers", "--role web --dry-run"],
        ),
        ("ExpiredToken", "The security token has expired", 253, ["AWS doesn't take these credentials"]),
        (
            "LimitExceeded",
            "Maximum policy size of 10240 bytes exceeded for role web",
            1,
            ["would have 4 instances, and all inline policies of a role together", "rolekeeper roles clean-revoked"],
        ),
    ],
)
def test_what_iam_refuses_says_how_to_go_on(
    terminal: Terminal, desk: Desk, iam: Iam, moved: str, code: str, message: str, *, exit_code: int, says: list[str]
) -> None:
    iam.write("web", OTHERS, *(iam.statement("web", f"i-0a{each}", ago=HOURS) for each in range(3)))
    desk.world.calls.before("PutRolePolicy", refusing(code, message, status=403))
    ran = terminal("revoke", moved)
    told = " ".join(ran.stderr.split())
    assert (ran.exit_code, [each for each in says if each not in told]) == (exit_code, []), told


def test_in_another_account_only_its_own_credentials_may_write(terminal: Terminal, desk: Desk, moved: str) -> None:
    del moved  # it is of the own account, and so are the roles web and db
    target = Target("111111111111", "eu-west-1")
    spoke = SpokeFixture(terminal, desk, target)
    spoke.registered()
    spoke.world.profile("web")
    instance = spoke.address("i-0123456789abcdef0")
    ran = terminal("revoke", instance, "--role", "web")
    told = " ".join(ran.stderr.split())
    assert ran.exit_code == 1
    assert "role web is in account 111111111111, where only its own credentials may write" in told
    assert f"print the policy: rolekeeper revoke {instance} --role web --dry-run -o json" in told
    assert "> FILE; then write it yourself: aws iam put-role-policy --role-name web" in told
    assert "--policy-document file://FILE --region eu-west-1 --profile profile-of-111111111111" in told
    [statement] = json.loads(terminal("revoke", instance, "--role", "web", *PRINTS).stdout)["Statement"]
    assert statement["Condition"]["StringEquals"] == {"aws:userid": "AROAWEB:i-0123456789abcdef0"}


def test_in_another_region_of_the_own_account_the_caller_writes(
    terminal: Terminal, desk: Desk, iam: Iam, moved: str
) -> None:
    del moved
    spoke = SpokeFixture(terminal, desk, Target(ACCOUNT, "eu-west-1"))
    spoke.registered()
    spoke.world.profile("web")
    assert terminal("revoke", spoke.address("i-0123456789abcdef0"), "--role", "web").exit_code == 0
    assert list(iam.revoked("web")) == ["i-0123456789abcdef0"]


def test_it_calls_what_the_guard_allows_and_nothing_else(terminal: Terminal, desk: Desk, iam: Iam, moved: str) -> None:
    iam.write("db", iam.statement("db", "i-0cc", ago=8 * HOURS))
    policy = json.loads(terminal("guard", "revokers").stdout)
    desk.quiet()
    assert terminal.types("y\n", "revoke", moved).exit_code == 0
    desk.world.later(hours=7)
    assert len(terminal.document("roles", "clean-revoked")) == 2
    called = {each.partition("_")[0] for each in desk.world.calls.made}
    allowed = {action.partition(":")[2] for each in policy["Statement"] for action in each["Action"]}
    assert called == allowed - {"DescribeStacks"}, "the terminal asks for no stack"


# ---- two people at once, and IAM's delay ----


def stop() -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt


def once_written(terminal: Terminal, act: Callable[[], object]) -> None:
    """Do something while the command waits for what it wrote."""

    def wait() -> None:
        terminal.meanwhile = act

    terminal.desk.world.calls.after("PutRolePolicy", wait)


def test_a_later_statement_of_one_instance_is_as_good(terminal: Terminal, desk: Desk, iam: Iam, moved: str) -> None:
    """Two people revoke one instance."""
    once_written(terminal, lambda: iam.write("web", iam.statement("web", moved, ago=-5)))
    desk.quiet()
    assert terminal("revoke", moved).exit_code == 0
    assert desk.world.calls["PutRolePolicy"] == 2, "theirs and ours"


def answers_late(desk: Desk, reads: int) -> None:
    """IAM shows no policy in so many reads after it was written."""
    left = iter(range(reads))
    desk.quiet()

    def hide(**_: object) -> None:
        if desk.world.calls["PutRolePolicy"] and next(left, None) is not None:
            refusing("NoSuchEntity")()

    desk.iam.meta.events.register_last("before-call.iam.GetRolePolicy", hide)


def test_an_answer_of_iam_from_before_the_write_is_no_failure(
    terminal: Terminal, desk: Desk, iam: Iam, moved: str
) -> None:
    answers_late(desk, 3)
    assert terminal("revoke", moved).exit_code == 0
    assert desk.world.calls["PutRolePolicy"] == 1
    assert list(iam.revoked("web")) == [moved]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_write_without_an_answer_is_looked_for_and_made_again_if_it_isnt_there(
    terminal: Terminal, desk: Desk, iam: Iam, moved: str, when: str
) -> None:
    desk.quiet()
    getattr(desk.world.calls, when)("PutRolePolicy", refusing("ServiceFailure", "no answer", status=500))
    assert terminal("revoke", moved).exit_code == 0
    assert desk.world.calls["PutRolePolicy"] == {"before": 2, "after": 1}[when]
    assert list(iam.revoked("web")) == [moved]


@pytest.mark.usefixtures("iam")
def test_where_iam_never_shows_it_it_isnt_called_done(terminal: Terminal, desk: Desk, moved: str) -> None:
    answers_late(desk, 1_000)
    ran = terminal("revoke", moved)
    assert ran.exit_code == 255
    assert f"was written 3 times, and IAM doesn't show {moved} in that policy of role web" in ran.stderr
    assert (desk.world.calls["PutRolePolicy"], ran.stdout) == (3, "")


# ---- what Rolekeeper makes of it ----


def test_it_changes_nothing_of_what_the_role_may_do(
    terminal: Terminal, desk: Desk, iam: Iam, moved: str, tmp_path: Path
) -> None:
    """Neither to the sweep, nor to a plan that leads away from the role, nor to the edit."""
    for role in ("web", "db"):
        desk.grant(role, "s3:GetObject")
    assert terminal("revoke", moved).exit_code == 0
    assert desk.recheck("app=web").status is Status.PUBLISHED
    desk.converged("web", app="web")
    plan = terminal.document("plan", "-f", mapping_file(tmp_path, "tag_key: app, tag_value: web, role: db"))
    [change] = plan["permissions"]
    assert (change["from"], change["gained"], change["lost"], change["unknown"]) == ("web", [], [], "")
    verdict = desk.edit("app=web", role="db")
    assert verdict.impact
    assert (verdict.status, verdict.impact.difference) == (Status.PUBLISHED, Difference())
    assert list(iam.revoked("web")) == [moved]


# ---- cleaning ----


def test_cleaning_removes_what_is_over_and_is_then_done(terminal: Terminal, desk: Desk, iam: Iam) -> None:
    young, old = iam.statement("web", "i-0aa", ago=6.85 * HOURS), iam.statement("web", "i-0bb", ago=7 * HOURS)
    iam.write("web", old, young)
    iam.write("db", iam.statement("db", "i-0cc", ago=8 * HOURS))
    desk.role("theirs", path="/")
    iam.write("theirs", iam.statement("theirs", "i-0dd", ago=8 * HOURS))
    assert terminal.document("roles", "clean-revoked") == [
        {"role": "db", "removed": ["i-0cc"], "left": 0, "deleted": True},
        {"role": "web", "removed": ["i-0bb"], "left": 1, "deleted": False},
    ]
    assert (iam.statements("web"), iam.statements("db"), len(iam.statements("theirs"))) == ([young], [], 1)
    iam.write("db", iam.statement("db", "i-0cc", ago=8 * HOURS))
    assert terminal("roles", "clean-revoked").stdout == "db: removed i-0cc; the policy is deleted.\n"
    desk.quiet()
    terminal("roles", "clean-revoked")
    assert {"PutRolePolicy", "DeleteRolePolicy"}.isdisjoint(desk.world.calls.made)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("GetRolePolicy", "AccessDenied"),
        ("GetRolePolicy", "NoSuchEntity"),
        ("PutRolePolicy", "Throttling"),
        ("DeleteRolePolicy", "DeleteConflict"),
    ],
)
def test_a_role_that_iam_refuses_holds_up_no_other_role_s_cleaning(
    terminal: Terminal, desk: Desk, iam: Iam, call: str, code: str
) -> None:
    over = {role: iam.statement(role, "i-0bb", ago=8 * HOURS) for role in ("web", "db")}
    for role, statement in over.items():
        iam.write(role, statement, *([OTHERS] if call == "PutRolePolicy" else []))
    desk.world.calls.before(call, refusing(code, "no", status=409))
    ran = terminal("roles", "clean-revoked")
    if (call, code) == ("GetRolePolicy", "NoSuchEntity"):
        assert ran.exit_code == 0, "it has none by then"
    else:
        assert (ran.exit_code, code in ran.stderr) == (1, code != "AccessDenied")
    cleaned = [role for role, statement in over.items() if statement not in iam.statements(role)]
    assert len(cleaned) == 1
    assert f"{cleaned[0]}: removed i-0bb; " in ran.stdout
