"""An organization in the embedded AWS: the deployment as its hub, and spokes in other accounts and Regions.

A person who tries it has AWS profiles: the hub's operators, and each other account's root. The viewers of all spokes
trust the operators' role (docs/organization.md), so that command and console show them the instances of every account.
A user takes that role: on AWS an account's root may take none.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rolekeeper.fleet.targets import Registry, ServedTarget
from rolekeeper.model.instance import Target
from rolekeeper.storage import Store
from rolekeeper_cli import installed
from rolekeeper_cli.deploy.rollout import NAMED_ROLES, Template
from rolekeeper_local.account import EmulatedAccount, starter_mappings
from rolekeeper_local.embedded import ACCOUNT, CREDENTIALS, PARAMETERS, REGION, EmbeddedAws, make_stack
from rolekeeper_local.place import EmbeddedAwsError
from rolekeeper_local.settings import ACCOUNTS, ORGANIZATION

REGIONS = (REGION, "eu-west-1")
SPOKE_STACK = "rolekeeper-spoke"
#: The roles of a spoke that the hub assumes, and people.
READER, CHANGER, VIEWER = "rolekeeper-reader", "rolekeeper-changer", "rolekeeper-viewer"
#: The schedule of spoke.yaml that tells the hub once a day that the spoke is there.
PRESENT = "rolekeeper-present"
#: The profiles, an account each; the first is the hub's.
HUB = "hub"
NAMES = (HUB, "web", "data")
OPERATORS = "operators"
_USER = "operator"
_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_SECONDS = 120
_LOOK_SECONDS = 0.2


def targets(accounts: int) -> tuple[Target, ...]:
    """The first accounts with each of their Regions; the hub's own is the first."""
    return tuple(Target(account, region) for account in ACCOUNTS[:accounts] for region in REGIONS)


def deploy_organization(aws: EmbeddedAws, accounts: int, **parameters: str) -> list[EmulatedAccount]:
    """Deploy a hub with its spokes in this number of accounts, with the starter roles and mappings, all in effect.

    Returns each target's administrator, the hub's own first. Other `parameters` are the hub's.
    """
    aws.deploy(**PARAMETERS, **parameters, OrganizationId=ORGANIZATION)
    worlds = [EmulatedAccount(aws, each.account, each.region) for each in targets(accounts)]
    hub = worlds[0]
    with aws.step("roles, spokes and mappings"):
        side_by_side(EmulatedAccount.deploy_starter_roles, worlds[:: len(REGIONS)])
        operators, key = make_operators(hub)
        write_profiles(aws, ACCOUNTS[:accounts], operators, key=key)
        deploy_spokes(aws, worlds[1:], [operators])
        register(aws, worlds[1:])
        hub.seed_mappings()
        rows = [(row["tag_key"], row["tag_value"]) for row in starter_mappings()]
        _await(lambda: [each for each in rows if not hub.mapping_status(*each, "Published")], "are not in effect")
    with aws.step("the first sweep of each"):
        hub.sweep()
        _await(lambda: [each for each in _known(hub) if each.last_sweep is None], "are not swept")
    return worlds


def register(aws: EmbeddedAws, worlds: Sequence[EmulatedAccount]) -> None:
    """Send the daily event of these spokes now, and wait until the hub knows them."""
    for world in worlds:
        aws.fire_rule(world.account, world.region, PRESENT)

    def missing() -> list[Target]:
        known = {each.target for each in _known(worlds[0])}
        return [each.target for each in worlds if each.target not in known]

    _await(missing, "are not known to the hub")


def deploy_spokes(
    aws: EmbeddedAws, worlds: Sequence[EmulatedAccount], readers: Sequence[str] = (), **given: str
) -> None:
    """Deploy spoke.yaml in each of these, the first Region of an account first: its roles are made there.

    Their viewers trust the `readers`, ARNs of roles of the hub's account; other parameters are `given`.
    """
    homes: dict[str, str] = {}
    for world in worlds:
        homes.setdefault(world.account, world.region)
    parameters = {**spoke_parameters(aws), "OtherReaders": ",".join(readers), **given}
    for now in ([each for each in worlds if (homes[each.account] == each.region) is home] for home in (True, False)):
        asked = [{"Regions": ",".join(REGIONS), "HomeRegion": homes[world.account], **parameters} for world in now]
        side_by_side(deploy_spoke, now, asked)


def side_by_side(do: Callable[..., object], *arguments: Sequence[object]) -> None:
    """Do it with each of the arguments; Ctrl-C waits for none of them: what they ask ends with the emulator."""
    pool = ThreadPoolExecutor()
    try:
        list(pool.map(do, *arguments))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def spoke_parameters(aws: EmbeddedAws) -> dict[str, str]:
    """What every spoke of the deployment is given, as docs/organization.md has it; HomeRegion comes beside it."""
    outputs = aws.stack_outputs()
    named = {name: outputs[name] for name in ("HubReaders", "HubChangers", "HubNotifiers")}
    return {"HubAccount": ACCOUNT, "HubRegion": REGION, "OrganizationId": ORGANIZATION, **named}


def deploy_spoke(world: EmulatedAccount, parameters: dict[str, str], template: str = "") -> None:
    """Deploy one, by default this version's."""
    body = template or installed.file("spoke.yaml").read_text()
    make_stack(world.stacks, SPOKE_STACK, Template({"TemplateBody": body}, NAMED_ROLES), parameters=parameters)


@contextmanager
def role_removed(world: EmulatedAccount, name: str) -> Iterator[None]:
    """Delete one of a spoke's roles, and recreate it at the end."""
    role = world.iam.get_role(RoleName=name)["Role"]
    policies = {
        each: world.iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"]
        for each in world.iam.list_role_policies(RoleName=name)["PolicyNames"]
    }
    for policy in policies:
        world.iam.delete_role_policy(RoleName=name, PolicyName=policy)
    world.iam.delete_role(RoleName=name)
    try:
        yield
    finally:
        trust = json.dumps(role["AssumeRolePolicyDocument"])
        world.iam.create_role(RoleName=name, Tags=role.get("Tags", []), AssumeRolePolicyDocument=trust)
        for policy, document in policies.items():
            world.iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))


def problem_of(world: EmulatedAccount) -> str:
    """What the hub says is wrong with this target; empty while nothing is."""
    return next((each.problem for each in _known(world) if each.target == world.target), "")


def make_operators(hub: EmulatedAccount) -> tuple[str, tuple[str, str]]:
    """Make the operators' role, and a user who may assume it; returns the role's ARN and the user's access key."""
    user = hub.iam.create_user(UserName=_USER)["User"]["Arn"]
    hub.iam.put_user_policy(UserName=_USER, PolicyName=_USER, PolicyDocument=json.dumps(_ALL))
    trust = {"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = hub.iam.create_role(RoleName=OPERATORS, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    hub.iam.put_role_policy(RoleName=OPERATORS, PolicyName=OPERATORS, PolicyDocument=json.dumps(_ALL))
    key = hub.iam.create_access_key(UserName=_USER)["AccessKey"]
    return role, (key["AccessKeyId"], key["SecretAccessKey"])


def write_profiles(aws: EmbeddedAws, accounts: Sequence[str], role: str, key: tuple[str, str]) -> None:
    """Write the file of the profiles: `hub` is the operators', the others are the roots of the other accounts."""
    keys = {_USER: key}
    keys |= {name: (account, "any") for name, account in zip(NAMES, accounts, strict=False) if account != ACCOUNT}
    where = f"region = {REGION}\nendpoint_url = {aws.endpoint}\n"
    parts = [f"[profile {HUB}]\n{where}role_arn = {role}\nsource_profile = {_USER}\n"]
    for name, (id_, secret) in keys.items():
        parts.append(f"[profile {name}]\n{where}aws_access_key_id = {id_}\naws_secret_access_key = {secret}\n")
    profiles_file(aws).write_text("\n".join(parts))


def profiles_file(aws: EmbeddedAws) -> Path:
    return aws.directory / "aws-profiles"


def as_operators(aws: EmbeddedAws) -> dict[str, str]:
    """The variables of a process that acts as the hub's operators."""
    # A key among the variables would come before the profile.
    others = {name: value for name, value in aws.env.items() if name not in CREDENTIALS}
    return {**others, "AWS_CONFIG_FILE": str(profiles_file(aws)), "AWS_PROFILE": HUB}


def _known(world: EmulatedAccount) -> list[ServedTarget]:
    return Registry(Store(world.dynamodb, world.state_table)).all()


def _await(missing: Callable[[], Sequence[object]], what: str) -> None:
    """Wait until nothing is missing; after a while an EmbeddedAwsError names what still is."""
    deadline = time.monotonic() + _SECONDS
    while left := missing():
        if time.monotonic() > deadline:
            raise EmbeddedAwsError(f"these {what} within {_SECONDS} s: {', '.join(map(str, left))}")
        time.sleep(_LOOK_SECONDS)
