"""Revocations, their cleaning and what uptake says of them, whatever IAM, other people and Ctrl-C do in between.

Reads are up to a second old, and another person's write that began before ours may come up to a second after it.
A role may be deleted and created again. Verify's removal of such policies is one more rule here, over the same IAM.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from fakes.clock import Clock
from fakes.stale_iam import STALE_SECONDS, StaleIam, Trouble, Writer
from rolekeeper.aws.iam import Iam, Role
from rolekeeper.model.instance import Target
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.instance.uptake import Told, roles_by_arn, with_denial
from rolekeeper_cli.instance.view import RoleUseView, UseStatus
from rolekeeper_cli.options import Options
from rolekeeper_cli.role.revocation import Plan, clean, planned, write_all
from rolekeeper_cli.role.view import RevokedRoleView
from strategies.happenings import at_most
from support.views import view_with

ROLES, INSTANCES = ("web", "db"), ("i-0aaaaaaaaaaaaaaaa", "i-0bbbbbbbbbbbbbbbb")
POLICY = "rolekeeper-revoked"
HOURS = 3_600
# How long a statement matters: six hours and 40 minutes, and a margin of 15 minutes.
MATTERS = timedelta(hours=6, minutes=55)
TARGET = Target("123456789012", "us-east-1")

roles, instances = st.sampled_from(ROLES), st.sampled_from(INSTANCES)
lags = st.lists(st.sampled_from([0.0, STALE_SECONDS / 2, STALE_SECONDS]), max_size=6)
codes = st.sampled_from(["Throttling", "ServiceFailure", "AccessDenied", "LimitExceeded", "ExpiredToken", ""])
troubles = st.lists(st.none() | st.none() | st.builds(Trouble, codes, st.booleans()), max_size=8)
none: st.SearchStrategy[list[Any]] = st.just([])


class IamDesk(Deployment):
    """A deployment over that IAM alone, in the clock's time."""

    def __init__(self, iam: StaleIam, clock: Clock) -> None:
        super().__init__(Options(region=TARGET.region))
        self._clock = clock
        ec2 = SimpleNamespace(associations=lambda _: {}, instances=lambda _: {})
        settings = SimpleNamespace(
            target=TARGET, account=TARGET.account, region=TARGET.region, role_path="/rolekeeper/"
        )
        app: Any = SimpleNamespace(ec2=ec2, at=lambda: app, settings=settings, iam=Iam(iam, TARGET.account))  # type: ignore[arg-type]  # the fake
        listed = [Role(name, f"role {name}", "/rolekeeper/", trust={}) for name in ROLES]
        self.__dict__.update(app=app, settings=settings, path_roles=listed)

    def now(self) -> datetime:
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


def denies(user: str, before: datetime) -> dict[str, Any]:
    """The statement as it is agreed."""
    times = {"aws:TokenIssueTime": f"{before:%Y-%m-%dT%H:%M:%SZ}"}
    condition = {"StringEquals": {"aws:userid": user}, "DateLessThan": times}
    return {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}


def user_of(statement: Any) -> str:
    """Whose credentials it denies; empty of a statement of another form."""
    return str(statement["Condition"]["StringEquals"]["aws:userid"]) if "Condition" in statement else ""


def last_of(statement: Any) -> datetime:
    """Before which time those were issued that it denies."""
    if not user_of(statement):
        return datetime.max.replace(tzinfo=UTC)
    return datetime.fromisoformat(statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"])


def denied_until(policies: Any, user: str) -> datetime | None:
    """The last time before which a user's credentials are denied; None if none are."""
    statements = policies.get(POLICY, {}).get("Statement", [])
    return max((last_of(each) for each in statements if user and user_of(each) == user), default=None)


class Revocations(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.iam = StaleIam(self.clock)
        self.desk = IamDesk(self.iam, self.clock)
        # What was called revoked: by role and user, before which time. What people wrote: by role.
        self.promised: dict[tuple[str, str], datetime] = {}
        self.theirs: dict[str, list[Any]] = {role: [] for role in ROLES}
        self.written = 0
        for role in ROLES:
            self.iam.make_role(role)
        self.clock.sleep(10)

    # ---- what others do ----

    @rule(seconds=st.sampled_from([3, 600, HOURS, 7 * HOURS]))
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule(role=roles, instance=instances, kind=st.sampled_from(["other", "now", "2031", "9999"]))
    def a_person_writes(self, role: str, instance: str, kind: str) -> None:
        self._add(role, self._statement(role, instance, kind), self._statements(role))
        self._looked_after()

    @precondition(lambda self: any(self.theirs.values()))
    @rule(data=st.data())
    def a_person_removes_what_they_wrote(self, data: st.DataObject) -> None:
        role = data.draw(st.sampled_from([role for role in ROLES if self.theirs[role]]))
        gone = self.theirs[role].pop()
        left = [each for each in self._statements(role) if each != gone]
        self.iam.write(role, POLICY, {"Version": "2012-10-17", "Statement": left} if left else None)
        if user := user_of(gone):
            self.theirs[role] = [each for each in self.theirs[role] if user_of(each) != user]
            self.promised.pop((role, user), None)
        self._looked_after()

    @rule(role=roles, with_policies=st.booleans())
    def a_role_is_deleted_and_created_again(self, role: str, *, with_policies: bool) -> None:
        self.iam.make_role(role, self.iam.truth(role) if with_policies else None)
        self.promised = {key: before for key, before in self.promised.items() if key[0] != role}
        if not with_policies:
            self.theirs[role] = []
        self._looked_after()

    # ---- what the command does ----

    @rule(
        order=st.permutations(ROLES),
        instance=instances,
        others=st.lists(st.none() | st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), max_size=3),
        lags=lags,
        troubles=none | troubles,
    )
    def revoke(
        self, order: list[str], instance: str, others: list[Any], lags: list[float], troubles: list[Any]
    ) -> None:
        plans = [planned(self.desk, instance, role=role) for role in order]
        plan = Plan(plans[0].key, "", [found for plan in plans for found in plan.revocations])
        self.iam.meanwhile = [each and (each[0], self._writer(began_before=each[1])) for each in others]
        began = self.clock.now()
        with self._disturbed(lags, troubles):
            done = 0
            for outcome in write_all(self.desk, plan):
                done += 1
                assert isinstance(outcome, RevokedRoleView) or troubles or sum(map(bool, others)) > 2, outcome
                if isinstance(outcome, RevokedRoleView):
                    assert outcome.before > began
                    self.promised[outcome.role, f"{self.iam.roles[outcome.role].id}:{instance}"] = outcome.before
            assert done == len(ROLES), "one role's trouble holds up no other"

    @rule(lags=lags, troubles=none | troubles)
    def clean(self, lags: list[float], troubles: list[Any]) -> None:
        with self._disturbed(lags, troubles):
            for outcome in clean(self.desk):
                assert not isinstance(outcome, Exception) or troubles, outcome
                if not isinstance(outcome, Exception):
                    assert len(self._statements(outcome.role)) == outcome.left

    @rule(role=roles, instance=instances, lags=lags, troubles=none | troubles)
    def uptake(self, role: str, instance: str, lags: list[float], troubles: list[Any]) -> None:
        """A former role is called cut off only if what the instance got of this very role is denied."""
        found = self.iam.roles[role]
        until = self.clock.now() - timedelta(minutes=5)
        told = Told(instance, (), self.clock.now())
        status = UseStatus.STILL_VALID
        held = view_with(RoleUseView, role=role, role_arn=found.arn, until=until, status=status)
        user, moments = f"{found.id}:{instance}", [told.now - timedelta(seconds=lag) for lag in (0, *lags)]
        denied = [bool((before := denied_until(found.at(each), user)) and before > until) for each in moments]
        with self._disturbed(lags, troubles):
            told.known_roles = {found.arn: role_now} if (role_now := roles_by_arn(self.desk)(found.arn)) else {}
            status = with_denial(self.desk, held, told).status
        assert status is not UseStatus.CUT_OFF or any(denied)
        assert status is UseStatus.CUT_OFF or troubles or not all(denied)

    # ---- what always holds ----

    @invariant()
    def what_was_called_revoked_is_denied(self) -> None:
        for (role, user), before in self.promised.items():
            if before >= self.clock.now() - MATTERS:
                shown = denied_until(self.iam.truth(role), user)
                assert shown, (role, user)
                assert shown >= before

    @invariant()
    def what_people_wrote_stays(self) -> None:
        for role, statements in self.theirs.items():
            there = self._statements(role)
            for each in statements:
                # A later revocation of the same instance may have taken its place.
                later = denied_until(self.iam.truth(role), user_of(each)) or datetime.min.replace(tzinfo=UTC)
                assert each in there or later >= last_of(each) or last_of(each) < self.clock.now() - MATTERS

    @invariant()
    def no_policy_is_empty(self) -> None:
        assert all(document["Statement"] for role in ROLES for document in self.iam.truth(role).values())

    # ---- how ----

    @contextmanager
    def _disturbed(self, lags: Iterable[float], troubles: Iterable[Any]) -> Iterator[None]:
        """Ctrl-C may end what is done; whatever else happens in between is the command's own to bear."""
        self.iam.lags, self.iam.troubles = [*lags], [*troubles]
        with suppress(KeyboardInterrupt):
            yield
        self.iam.lags, self.iam.troubles, self.iam.meanwhile = [], [], []
        self._looked_after()

    def _looked_after(self) -> None:
        """Who writes looks at it for as long as others may be writing."""
        self.clock.sleep(2 * STALE_SECONDS)

    def _writer(self, *, began_before: bool) -> Writer:
        """Another person, who read what there was before our write, or reads what there is."""

        def write(role: str, before: Any) -> None:
            read = (before if began_before else self.iam.truth(role)).get(POLICY, {}).get("Statement", [])
            self._add(role, self._statement(role, INSTANCES[0], "other"), list(read))

        return write

    def _statement(self, role: str, instance: str, kind: str) -> dict[str, Any]:
        self.written += 1
        if kind == "other":
            return {"Sid": f"Mine{self.written}", "Effect": "Deny", "Action": "s3:*", "Resource": "*"}
        last = datetime(int(kind), 12, 31, 23, 59, 59, tzinfo=UTC) if kind != "now" else self.clock.now()
        return denies(f"{self.iam.roles[role].id}:{instance}", last)

    def _statements(self, role: str) -> list[Any]:
        return list(self.iam.truth(role).get(POLICY, {}).get("Statement", []))

    def _add(self, role: str, statement: Any, read: list[Any]) -> None:
        """Somebody writes a statement to those that they read."""
        self.iam.write(role, POLICY, {"Version": "2012-10-17", "Statement": [*read, statement]})
        self.theirs[role].append(statement)


def test_whatever_happens_in_between_what_is_revoked_is_denied_and_what_people_wrote_stays() -> None:
    run_state_machine_as_test(Revocations, settings=at_most(1000, 15))
