"""Many roles at once: a sweep reads IAM's list of all roles, and asks singly about what isn't in order there."""

from collections.abc import Iterable
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.calls import Calls
from fakes.others import FakeIam
from fixtures.account import ACCOUNT, PATH, FakeAccount, mapping_key, refusing, settings_of
from fixtures.mappings import TRUSTS_EC2, TRUSTS_LAMBDA, Desk
from rolekeeper.aws import iam as aws_iam
from rolekeeper.aws import one_by_one
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.aws.iam import Iam
from rolekeeper.fleet.sweep import SweepResult
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import NO_ROLE, MappingSpec
from rolekeeper.permissions import roles
from rolekeeper.permissions.comparison import PolicyReader
from rolekeeper.permissions.roles import RoleCheck, Roles
from rolekeeper_local.ec2_model import Profile
from support.grants import allow, deny, policy

LIST, ONE = "GetAccountAuthorizationDetails", "GetRole"
COUNT = roles.MANY
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/limit"
ROLE, PROFILE = f"arn:aws:iam::{ACCOUNT}:role", f"arn:aws:iam::{ACCOUNT}:instance-profile"

TRUST: dict[str, Any] = {"Version": "2012-10-17", "Statement": [*TRUSTS_EC2["Statement"], *TRUSTS_LAMBDA["Statement"]]}


class Account:
    """Some roles, each held by the profile of its name, and an invocation's checks of them."""

    def __init__(self, count: int = COUNT) -> None:
        self.calls = Calls()
        self.profiles: dict[str, Profile] = {}
        self.iam: Any = FakeIam(self.profiles, self.calls, ACCOUNT)
        self.names = [f"role-{number:03}" for number in range(count)]
        for name in self.names:
            self.role(name)

    def role(self, name: str, *, path: str = PATH, trust: Any = TRUSTS_EC2, inside: str | None = "") -> None:
        """Make a role, and a profile of its name that holds it, another role, or with None nothing."""
        arn = f"{ROLE}{path}{name}"
        named = {"RoleName": name, "Arn": arn, "Path": path, "CreateDate": "a day"}
        self.iam.others[name] = {**named, "AssumeRolePolicyDocument": trust}
        held = () if inside is None else (f"{ROLE}{path}{inside}" if inside else arn,)
        self.profiles[name] = Profile(name, f"{PROFILE}{PATH}{name}", f"AIPA{name}", held, 0)

    def checks(self, **settings: Any) -> Roles:
        there = settings_of(Target(ACCOUNT, "eu-west-1"), **settings)
        return Roles(PolicyReader(Iam(self.iam, ACCOUNT)), there)

    def asked(self, checks: Roles, names: Iterable[str] = (), **columns: Any) -> set[str]:
        """Which of these roles IAM refused to answer about, asked about at once."""
        specs = [spec(name, **columns) for name in names or self.names]
        return {key.tag_value for key in checks.ask_ahead(specs, one_by_one)}


def spec(role: str, **columns: Any) -> MappingSpec:
    return MappingSpec(mapping_key(f"app={role}"), role, **columns)


def in_order(name: str) -> RoleCheck:
    return RoleCheck(profile_arn=f"{PROFILE}{PATH}{name}", profile_id=f"AIPA{name}")


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.mark.parametrize("learned", ["asked", "ahead", "from the list"])
def test_what_is_known_of_a_row_with_consent_to_a_broad_role_is_not_believed_for_one_without(
    account: Account, learned: str
) -> None:
    name, checks = account.names[0], account.checks(allow_broad_roles=True)
    account.iam.inline[name] = policy(allow("*"))
    consented = spec(name, allow_broad=True)
    match learned:
        case "ahead":
            checks.ask_ahead([consented], one_by_one)
        case "from the list":
            checks.ask_ahead([consented, *map(spec, account.names[1:])], one_by_one)
    assert checks.check(consented) == in_order(name)
    assert "is broad" in str(checks.check(spec(name)).problem)
    assert checks.check(consented) == in_order(name)


def test_a_few_roles_are_asked_about_singly_and_none_at_all_is_no_role(account: Account) -> None:
    checks = account.checks()
    account.asked(checks, [*account.names[1:], NO_ROLE])
    assert account.calls[LIST] == 0
    assert account.calls[ONE] == COUNT - 1
    account.asked(checks)
    assert account.calls[LIST] == 0, "the others are known"
    assert account.calls[ONE] == COUNT


@pytest.mark.parametrize("code", ["AccessDenied", "Throttling", "InternalFailure"])
def test_where_the_list_is_refused_each_role_is_asked_about_and_the_list_not_again(account: Account, code: str) -> None:
    checks = account.checks()
    account.calls.before(LIST, refusing(code, "no"))
    assert account.asked(checks) == set()
    assert [checks.check(spec(name)) for name in account.names] == [in_order(name) for name in account.names]
    for number in range(COUNT):
        account.role(f"later-{number}")
    assert account.asked(checks, [f"later-{number}" for number in range(COUNT)]) == set()
    assert account.calls[LIST] == 1
    assert account.calls[ONE] == 2 * COUNT


def test_a_role_whose_single_answer_is_refused_is_one_without_an_answer(account: Account) -> None:
    account.role("role-003", inside=None)
    account.calls.before(ONE, refusing("Throttling", "slow down"))
    checks = account.checks()
    assert account.asked(checks) == {"role-003"}
    with pytest.raises(AwsRefusalError):
        checks.check(spec("role-003"))


def test_a_role_that_the_list_has_too_late_is_found_all_the_same(account: Account) -> None:
    role, profile = account.iam.others.pop("role-003"), account.profiles.pop("role-003")
    account.calls.before(ONE, lambda: account.iam.others.update({"role-003": role}))
    account.calls.before("GetInstanceProfile", lambda: account.profiles.update({"role-003": profile}))
    checks = account.checks()
    assert account.asked(checks) == set()
    assert checks.check(spec("role-003")) == in_order("role-003")
    assert (account.calls[LIST], account.calls[ONE]) == (1, 1)


@pytest.mark.parametrize(
    "lacks", ["InstanceProfileList", "RolePolicyList", "AttachedManagedPolicies", "PolicyDocument"]
)
def test_a_role_that_the_list_has_in_part_is_asked_about_singly(account: Account, lacks: str) -> None:
    """None of these members has to be there."""
    account.iam.inline["role-003"] = policy(allow("*"))
    whole = account.iam._detail  # noqa: SLF001  # what is left out of it

    def detail(name: str) -> dict[str, Any]:
        said = whole(name)
        for each in said["RolePolicyList"]:
            each.pop(lacks, None)
        return {key: value for key, value in said.items() if key != lacks}

    account.iam._detail = detail  # noqa: SLF001  # the same
    checks = account.checks()
    account.asked(checks)
    problem = checks.check(spec("role-003")).problem
    assert problem
    assert "is broad" in problem.what
    assert account.calls[ONE] == (1 if lacks == "PolicyDocument" else COUNT)


def test_a_profile_of_another_name_is_used_where_the_list_has_it_and_asked_about_where_not(account: Account) -> None:
    checks = account.checks()
    other = Profile("shared", f"{PROFILE}{PATH}shared", "AIPASHARED", (f"{ROLE}{PATH}role-003",), 0)
    account.profiles["shared"] = other
    account.asked(checks)
    assert account.asked(checks, ["role-003", *account.names[5:]], instance_profile="shared") == set()
    assert checks.check(spec("role-003", instance_profile="shared")).profile_id == "AIPASHARED"
    held = checks.check(spec("role-005", instance_profile="shared")).problem
    assert held
    assert "holds role 'role-003', not 'role-005'" in held.what
    assert account.calls[ONE] == COUNT - 5, "only of those whose profile isn't theirs"


def test_the_list_is_read_in_pages_until_all_are_found(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody asks about are listed before them, or after."""
    monkeypatch.setattr(aws_iam, "PAGE", COUNT)
    for number in range(COUNT):
        account.role(f"z-before-{number:03}")
        account.role(f"a-after-{number:03}")
    assert account.asked(account.checks()) == set()
    assert account.calls.made == [LIST, LIST]


def test_in_an_account_of_many_other_roles_reading_the_list_ends(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that weren't found are asked about singly; the next roles let it read on."""
    monkeypatch.setattr(aws_iam, "PAGE", 10)
    for number in range(10 * COUNT):
        account.role(f"z-before-{number:03}")
    checks = account.checks()
    assert account.asked(checks) == set()
    assert (account.calls[LIST], account.calls[ONE]) == (COUNT // roles.ROLES_A_PAGE, COUNT)
    account.asked(checks)
    assert account.calls[LIST] == COUNT // roles.ROLES_A_PAGE, "all are known"


def test_a_stack_that_requires_a_boundary_believes_the_list_only_where_it_has_one(account: Account) -> None:
    """It may leave them out."""
    for name in account.names:
        account.iam.others[name]["PermissionsBoundary"] = {"PermissionsBoundaryArn": BOUNDARY}
    account.iam.get_policy = lambda PolicyArn: {"Policy": {"DefaultVersionId": "v1"}}  # noqa: ARG005, N803  # boto3's own name
    account.iam.get_policy_version = lambda **_: {"PolicyVersion": {"Document": policy(allow("s3:*"))}}
    checks = account.checks(require_permissions_boundary=BOUNDARY)
    account.asked(checks)
    assert account.calls.made == [LIST]
    whole = account.iam._detail  # noqa: SLF001  # what is left out of it
    account.iam._detail = lambda name: {**whole(name), "PermissionsBoundary": {}}  # noqa: SLF001  # the same
    checks = account.checks(require_permissions_boundary=BOUNDARY)
    account.asked(checks)
    assert account.calls[ONE] == COUNT
    assert checks.check(spec("role-003")) == in_order("role-003")


TRUSTS = st.sampled_from([TRUSTS_EC2, TRUSTS_LAMBDA, TRUST, {}])
STATEMENTS = st.sampled_from(
    [allow("s3:GetObject"), allow("*"), allow("iam:*"), deny("iam:*"), deny("*"), allow("s*:*")]
)
INSIDE = st.sampled_from(["", "", None, "role-0"])
ROLES = st.tuples(st.sampled_from([PATH, PATH, "/other/"]), TRUSTS, INSIDE, st.lists(STATEMENTS, max_size=2))


@given(st.lists(ROLES, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_a_role_is_judged_by_the_list_as_by_single_answers(
    made: list[Any],
    makes: bool,  # noqa: FBT001  # what is drawn
    allows: bool,  # noqa: FBT001  # the same
) -> None:
    account = Account(0)
    for number, (path, trust, inside, may) in enumerate(made):
        account.role(f"role-{number}", path=path, trust=trust, inside=inside)
        if may:
            account.iam.inline[f"role-{number}"] = policy(*may)
    specs = [spec(f"role-{number}", allow_broad=True) for number in range(len(made) + 1)]
    settings = {"create_missing_profiles": makes, "allow_broad_roles": allows}
    listed, singly = account.checks(**settings), account.checks(**settings)
    with mock.patch.multiple(roles, MANY=1, ROLES_A_PAGE=1):
        assert listed.ask_ahead(specs, one_by_one) == set()
    assert account.calls[LIST] == 1
    assert [listed.check(each) for each in specs] == [singly.check(each) for each in specs]


def test_a_sweep_of_many_rows_makes_few_calls(world: FakeAccount) -> None:
    """Each row has a role of its own. Singly IAM would be asked four times about each."""
    desk, count = Desk(world), 100
    desk.clients = {**desk.clients, "iam": world.clients["iam"]}
    world.large_pages()
    for number in range(count):
        world.profile(f"role-{number}")
        desk.edit(f"app=w{number}", role=f"role-{number}")
    swept = sweep(desk)
    assert (swept.published, swept.problems) == (count, [])
    assert world.calls[LIST] == 1
    assert len(world.calls.made) < count / 4
    world.calls.before(LIST, refusing("AccessDenied", "no"))
    swept = sweep(desk)
    assert (swept.published, swept.problems) == (count, [])
    assert (world.calls[LIST], world.calls[ONE]) == (1, count)


def sweep(desk: Desk) -> SweepResult:
    desk.world.wait(15 * 60)
    desk.world.calls.clear()
    return desk.app().sweep("sweep-1", lambda: 840, "run-1", {}).run()
