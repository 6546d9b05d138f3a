"""The AWS account of one schedule: EC2's truth, IAM, who made which association, and what was true when.

EC2 and IAM are eventually consistent: a describe call may show the past. The functions' own IAM policies are enforced
here as the template writes them: only profiles under the path, holding roles under the path, can be passed, and only
what carries one under the path can be changed, unless `take_over` lifts that.
"""

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper_local.ec2_model import Association, AssociationState, Ec2Error, Event, Instance, Profile, Timings
from rolekeeper_local.ec2_truth import Ec2Truth
from simulation.engine import Engine

ACCOUNT, REGION = "123456789012", "us-east-1"
# The units of the spoke's account, the root first.
UNITS = ("r-a1b2", "ou-a1b2-abovespo", "ou-a1b2-ofspoke0")
HUB, SPOKE = Target(ACCOUNT, REGION), Target("111111111111", "eu-west-1")
# By the first of its ids an instance tells where it is, though it is known by its id alone; further spokes by number.
APART, MORE = 1 << 40, 200_000_000_000
PATH = "/rolekeeper/"
MADE = datetime(2026, 1, 1, tzinfo=UTC)
TRUSTS_EC2 = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}


class Maker(StrEnum):
    US = "us"
    THEM = "somebody else"


def target_at(number: int) -> Target:
    """The hub is number 0, and the spoke of the schedules number 1."""
    return (HUB, SPOKE)[number] if number < 2 else Target(str(MORE + number), SPOKE.region)


def _first_id(target: Target) -> int:
    number = (HUB, SPOKE).index(target) if target in (HUB, SPOKE) else int(target.account) - MORE
    return number * APART + (0x5000 if number else 0)


def instance_key(instance: str) -> InstanceKey:
    there = target_at(int(instance.rpartition("-")[2], 16) // APART)
    return InstanceKey(there.account, there.region, instance)


@dataclass(frozen=True)
class View:
    at: float
    instances: tuple[Instance, ...]
    associations: tuple[Association, ...]


ALARMS = ("errors", "latency")


class Account:
    """See the module. `on_event` takes what EC2 tells EventBridge.

    Attributes:
        units: those that its spoke says, the root first.
        truth: EC2.
        profiles: instance profiles by name.
        roles: roles by name, with their paths.
        broad: the roles that have an administrator's policy.
        alarms: those of CloudWatch, each with its state; one that isn't there can't be read.
        makers: who made each association, by its id.
        instance_of: the instance of each association, by its id.
        profile_of: the profile's ARN of each association, by its id.
        tags: what tags each instance had since when, oldest first.
    """

    def __init__(
        self,
        engine: Engine,
        timings: Timings,
        on_event: Callable[[Event], None],
        *,
        keeps_past: bool,
        take_over: bool,
        allow_broad: bool,
        target: Target = HUB,
    ) -> None:
        self.target = target
        self.units = () if target == HUB else UNITS
        self.take_over = take_over
        self.allow_broad = allow_broad
        self._engine = engine
        self._on_event = on_event
        self._keeps_past = keeps_past
        self._ids = _first_id(target)
        self.profiles: dict[str, Profile] = {}
        self.roles: dict[str, str] = {}
        self.broad: frozenset[str] = frozenset()
        self.alarms = dict.fromkeys(ALARMS, "OK")
        self.emptied: dict[str, float] = {}  # when an instance last lost its role
        self.makers: dict[str, Maker] = {}
        self.instance_of: dict[str, str] = {}
        self.profile_of: dict[str, str] = {}
        self.instances: list[str] = []
        self.tags: defaultdict[str, list[tuple[float, dict[str, str]]]] = defaultdict(list)
        self._views: list[View] = []
        self._iam: list[tuple[float, dict[str, Profile], dict[str, str], frozenset[str]]] = []
        self.truth = Ec2Truth(
            now=lambda: engine.seconds,
            new_id=self._new_id,
            find_profile=self.find_profile,
            emit=self._emitted,
            timings=timings,
            arn_prefix=f"arn:aws:ec2:{target.region}:{target.account}:instance/",
        )

    def _new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids:017x}"

    def _emitted(self, event: Event) -> None:
        if event.source == "aws.tag":
            tags: Any = event.detail["tags"]
            self.tags[event.resources[0].rsplit("/", 1)[-1]].append((self._engine.seconds, tags))
        self._on_event(event)

    # ---- time ----

    def changed(self) -> None:
        """Something changed in EC2: note it, and let what follows happen at its moment."""
        self.truth.tick()
        if self._keeps_past:
            instances, associations = self._rows()
            view = View(self._engine.seconds, tuple(map(copy.copy, instances)), tuple(map(copy.copy, associations)))
            self._views = [*self._views[-200:], view]
        for wait in {
            self.truth.timings.pending,
            self.truth.timings.stopping,
            self.truth.timings.shutting_down,
            self.truth.timings.associating,
            self.truth.timings.disassociating,
        }:
            self._engine.after(wait, self._ticked)

    def _ticked(self) -> None:
        before = self._signature() if self._keeps_past else None
        self.truth.tick()
        if self._keeps_past and self._signature() != before:
            self.changed()

    def _signature(self) -> Any:
        instances, associations = self._rows()
        return [each.state for each in instances], [(each.id, each.state) for each in associations]

    def _rows(self) -> tuple[list[Instance], list[Association]]:
        return self.truth.describe_instances(managed_too=True)[0], self.truth.describe_associations()[0]

    def view(self, lag: float) -> View | None:
        """EC2 as it was some seconds ago; None for now."""
        at = self._engine.seconds - lag
        return next((each for each in reversed(self._views) if each.at <= at), None) if lag else None

    # ---- IAM ----

    def profile(self, name: str, *, path: str = PATH, role: str | None = "", made_now: bool = False) -> str:
        """Make an instance profile; it holds the role of its name, another one, or none (None)."""
        holds = () if role is None else (self.role_arn(role or name, path),)
        self._ids += 1
        self.profiles[name] = Profile(
            name=name,
            arn=f"arn:aws:iam::{self.target.account}:instance-profile{path}{name}",
            id=f"AIPA{self._ids:017}",
            roles=holds,
            created_at=self._engine.seconds if made_now else float("-inf"),
        )
        self.iam_changed()
        return self.profiles[name].arn

    def put_role_into(self, profile: str, role_arn: str) -> None:
        self.profiles[profile] = replace(self.profiles[profile], roles=(role_arn,))
        self.iam_changed()

    def role_arn(self, name: str, path: str = PATH) -> str:
        return f"arn:aws:iam::{self.target.account}:role{path}{name}"

    def find_profile(self, reference: str) -> Profile | None:
        name = reference.rsplit("/", 1)[-1]
        found = self.profiles.get(name)
        return found if found and reference in (found.name, found.arn) else None

    def iam_changed(self) -> None:
        self._iam.append((self._engine.seconds, dict(self.profiles), dict(self.roles), self.broad))

    def iam(self, lag: float) -> tuple[dict[str, Profile], dict[str, str], frozenset[str]]:
        """The profiles, roles and broad roles as they were some seconds ago."""
        if not lag:
            return self.profiles, self.roles, self.broad
        at = self._engine.seconds - lag
        known = [each for each in self._iam if each[0] <= at] or self._iam[:1]
        return known[-1][1:]

    def under_the_path(self, arn: str, since: float) -> bool:
        """Whether a profile and the role in it lay under the path at some time since."""
        name = arn.rsplit("/", 1)[-1]
        return any(self._passes(profiles.get(name)) for _, profiles, _, _ in self._since(since))

    def narrow(self, role: str, since: float) -> bool:
        """Whether a role wasn't broad at some time since."""
        return any(role not in broad for _, _, _, broad in self._since(since))

    def _since(self, since: float) -> list[tuple[float, dict[str, Profile], dict[str, str], frozenset[str]]]:
        older = [each for each in self._iam if each[0] <= since][-1:]
        return [*older, *(each for each in self._iam if each[0] > since)]

    def _passes(self, profile: Profile | None) -> bool:
        ceiling = self.role_arn("")
        under = profile is not None and self.manages(profile.arn)
        return under and profile is not None and all(role.startswith(ceiling) for role in profile.roles)

    # ---- instances ----

    def launch(self, tags: dict[str, str], profile: str | None = None, operator: str = "") -> str:
        """Launch an instance; a profile given at launch is somebody else's, as is an instance of an AWS service."""
        made = self.truth.launch(tags=tags, profile=profile, operator=operator, hidden=bool(operator))
        self.instances.append(made.id)
        if row := self.truth.association_of(made.id):
            self._made(row, Maker.THEM)
        self.changed()
        return made.id

    def associate(self, instance: str, arn: str, maker: Maker) -> Association:
        """Attach. Raises `Ec2Error`."""
        self._permit_new(arn, maker)
        return self._made(self.truth.associate(instance, arn), maker)

    def replace(self, association: str, arn: str, maker: Maker) -> Association:
        """Replace. Raises `Ec2Error`."""
        self._permit_new(arn, maker)
        self._permit_present(association, maker)
        return self._made(self.truth.replace(association, arn), maker)

    def disassociate(self, association: str, maker: Maker) -> Association:
        """Detach. Raises `Ec2Error`."""
        self._permit_present(association, maker)
        row = self.truth.disassociate(association)
        self.emptied[row.instance_id] = self._engine.seconds
        self.changed()
        return row

    def association_of(self, instance: str) -> Association | None:
        self.truth.tick()
        return self.truth.association_of(instance)

    def settled_association_of(self, instance: str) -> Association | None:
        """The same, unless it is on its way out."""
        row = self.association_of(instance)
        return None if row is None or row.state is AssociationState.DISASSOCIATING else row

    def _made(self, row: Association, maker: Maker) -> Association:
        self.makers[row.id] = maker
        self.instance_of[row.id] = row.instance_id
        self.profile_of[row.id] = row.profile_arn
        self.changed()
        return row

    def manages(self, arn: str) -> bool:
        return f":instance-profile{PATH}" in arn

    def _permit_new(self, arn: str, maker: Maker) -> None:
        """What the template's policies let the functions attach (`AttachUnderThePath`, `PassOnlyUnderThePath`)."""
        if maker is Maker.US and (profile := self.find_profile(arn)) and not self._passes(profile):
            raise Ec2Error("UnauthorizedOperation", "You are not authorized to perform: iam:PassRole")

    def _permit_present(self, association: str, maker: Maker) -> None:
        """And what they may take away (`ChangeOnlyWhatIsManaged`, `TakeOver`)."""
        present = self.profile_of.get(association, "")
        if maker is Maker.US and present and not (self.manages(present) or self.take_over):
            raise Ec2Error("UnauthorizedOperation", "You are not authorized to perform this operation.")
