"""Scanning the instances that a mapping concerns, and sending those with its tag to be reconciled.

A scan finds how many instances a mapping governs, its conflicts, foreign roles, and its impact.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Self

from rolekeeper.aws import AT_ONCE, Each, Ec2, WorkQueue
from rolekeeper.aws.ec2 import RESTARTS
from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, StaleTokenError
from rolekeeper.instances.decide import Observation
from rolekeeper.instances.observe import observe_page
from rolekeeper.mappings.impact import Conflicts, Edit, Impact, Ranked, could_conflict
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.mappings.table import MappingTable
from rolekeeper.model.instance import Association, AssociationState, Instance, InstanceState, Target, in_account
from rolekeeper.model.mapping import ANY_VALUE, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.permissions import PolicyReader, Roles
from rolekeeper.settings import Limits, Ownership
from rolekeeper.storage import State, codec
from rolekeeper.telemetry import Telemetry

# How to recognize nodes: by the tags that the services and their tools set, and by the profiles that they make.
# EKS user guide, "Tagging your resources" and "Amazon EKS node IAM role"; Karpenter, "NodeClasses"; eksctl's stacks;
# ECS developer guide, "Tagging resources" and "Amazon ECS container instance IAM role".
_TAGS = {
    "EKS": ("eks:", "aws:eks:", "kubernetes.io/cluster/", "k8s.io/", "karpenter.sh/", "alpha.eksctl.io/"),
    "ECS": ("AmazonECSManaged", "aws:ecs:"),
}
_PROFILES = {
    "EKS": re.compile(r"^eks(ctl)?-|noderole|nodeinstance(role|profile)|karpenternode", re.IGNORECASE),
    "ECS": re.compile(r"^ecs-instance|ecsinstancerole", re.IGNORECASE),
}


def node_of(instance: Instance, profile_arn: str) -> str:
    """The service whose node an instance is, by its tags, or else its profile; empty when nothing says so."""
    name = profile_arn.rsplit("/", 1)[-1]
    tagged = [each for each, prefixes in _TAGS.items() if any(key.startswith(prefixes) for key in instance.tags)]
    named = [each for each, pattern in _PROFILES.items() if pattern.search(name)]
    return next(iter(tagged + named), "")


# Where to read on, in the row and in the command; the console's pages say it their way.
COUNTED, EXPLAINED = " (occupied says how many)", " (occupied says how many; explain says what to do)"


@dataclass(slots=True)
class Scan:
    """What a pass over the instances that a mapping concerns found.

    The candidate would govern `matched` of them, what is published governs `published_matched`. Of the former `foreign`
    carry a foreign role, some as `nodes` of these services; `profile_ids` are carried under the candidate's own ARN.
    """

    matched: int = 0
    published_matched: int = 0
    conflicts: Conflicts = field(default_factory=Conflicts)
    foreign: int = 0
    nodes: set[str] = field(default_factory=set)
    profile_ids: set[str] = field(default_factory=set)
    impact: Impact = field(default_factory=Impact)

    def add(
        self,
        instance: Instance,
        association: Association | None,
        published: Ranked,
        candidate: Ranked,
        ownership: Ownership,
    ) -> None:
        """Add one instance that the candidate concerns: what it carries, and how its mappings rank."""
        present, before = published
        mapping, after = candidate
        assert mapping is not None  # it is what this is about
        if after.winner is mapping:
            self.matched += 1
            # A role that is going isn't in the way, and an AWS service's instance isn't the mapping's.
            stays = association and association.state is not AssociationState.DISASSOCIATING and not instance.managed_by
            if association and association.profile_arn == mapping.profile_arn:
                self.profile_ids.add(association.profile_id)
            elif association and stays and not ownership.manages(association.profile_arn):
                self.foreign += 1
                self.nodes |= {node_of(instance, association.profile_arn)} - {""}
        if mapping in after.in_conflict:
            for other in after.in_conflict:
                if other.wants != mapping.wants:
                    there_already = present in before.in_conflict and other in before.in_conflict
                    self.conflicts.of(other).add(instance.key.id, new=not there_already)

    @property
    def counts(self) -> tuple[int, int]:
        """How many instances it would govern, and how many of them are occupied."""
        return self.matched, self.foreign

    def including(self, matched: int, foreign: int) -> "Scan":
        """The same with the counts of other targets."""
        return replace(self, matched=self.matched + matched, foreign=self.foreign + foreign)

    def include(self, other: "Scan") -> None:
        """Add what was found in another target; the profiles are each account's own."""
        self.matched += other.matched
        self.published_matched += other.published_matched
        self.foreign += other.foreign
        self.nodes |= other.nodes
        self.conflicts.include(other.conflicts)
        self.impact.include(other.impact)

    def about_foreign(self, *, taken: bool) -> str:
        """What to say about foreign roles, without a number, as that changes with the fleet."""
        if not self.foreign:
            return ""
        among = f", {' and '.join(sorted(self.nodes))} nodes among them" if self.nodes else ""
        if taken:
            return f"it takes over instances that carry foreign roles{among}{COUNTED}"
        return f"instances that carry foreign roles keep them{among}{EXPLAINED}"


@dataclass(frozen=True)
class ImpactScanner:
    """Scans for mappings that are about to be published; made for each invocation, as it counts the fleet once."""

    ec2: Ec2
    state: State
    table: MappingTable
    policies: PolicyReader
    limits: Limits
    ownership: Ownership

    @cached_property
    def fleet(self) -> int:
        """How many instances there are in the account and Region that aren't terminated."""
        shown = (each for page in self.ec2.fleet() for each in page)
        return sum(each.state is not InstanceState.TERMINATED for each in shown)

    def scan(
        self,
        candidate: PublishedMapping,
        published: PublishedMapping | None,
        now: datetime,
        given: Collection[str] = (),
    ) -> Scan:
        """Scan every instance that a candidate concerns. The candidate and what is published may be tombstones.

        Those are the instances with its tag, and if `given` names profiles, by the ARN in any account, those that carry
        one of them.
        """
        found, edit = Scan(), Edit(published, candidate, now)
        for page in self._concerned(edit, given):
            for seen in observe_page(page, self.ec2, self.state, now=now):
                # One with a damaged record can't be reconciled, so it has no impact. It counts as governed all the
                # same, if its mappings can be read.
                if seen.published is None:
                    continue
                assert seen.instance is not None  # it is one of the page
                association = seen.association if isinstance(seen, Observation) else None
                before, after = edit.ranked(seen, published, now), edit.ranked(seen, candidate, now)
                found.add(
                    seen.instance,
                    association,
                    (published, before),
                    candidate=(candidate, after),
                    ownership=self.ownership,
                )
                found.published_matched += published is not None and before.winner is published
                if isinstance(seen, Observation):
                    found.impact.add(seen, edit, self.ownership)
        return found

    def _concerned(self, edit: Edit, given: Collection[str]) -> Iterator[list[Instance]]:
        key, account = edit.candidate.key, self.ec2.account
        yield from self.ec2.tagged(key)
        present = edit.published.profile_arn if edit.published else ""
        if given and (profiles := {present, *(in_account(each, account) for each in given)} - {""}):
            for page in self.ec2.carrying(sorted(profiles)):
                yield [each for each in page if not key.matches(each.tags)]

    def add_possible_conflicts(
        self, conflicts: Conflicts, candidate: PublishedMapping, stored: StoredMapping, now: datetime
    ) -> None:
        """Add the conflicts with mappings of the same tag key that an instance could meet, though none does today."""
        exact = candidate.key.tag_value != ANY_VALUE
        published = stored.published
        for other in [stored.any_value] if exact else self._exact(candidate.key.tag_key):
            if other and could_conflict(candidate, other, now):
                conflicts.of(other).new |= not (published and could_conflict(published, other, now))

    def _exact(self, tag_key: str) -> Iterator[PublishedMapping]:
        """The published mappings of one tag key: an exact row meets only the `*` row, but that one meets them all."""
        for keys in self.table.keys_of(tag_key):
            snapshot = self.state.read([], keys)
            for damaged in snapshot.damaged.values():
                raise damaged
            yield from snapshot.published.values()


@dataclass(frozen=True)
class Spoke:
    """Another target: its account's roles, and the scanner of its instances.

    Its last sweep counted `instances`, 0 before the first; `unit` is its organizational unit, if it says one.
    """

    target: Target
    roles: Roles
    scanner: ImpactScanner
    instances: int = 0
    unit: str = ""

    def is_in(self, spec: MappingSpec) -> bool:
        """Whether it is in a mapping's scope."""
        return spec.covers(self.target.account, self.target.region, self.unit)


@dataclass(frozen=True, slots=True)
class Left:
    """Another target whose instances have yet to be sent, from EC2's `token` on."""

    account: str
    region: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class FanOut:
    """How far the sending of a mapping's instances is: how many were sent, and EC2's `token` of the next page.

    The hub's own come first, until they are `done`; then those of the targets that are `left`.
    """

    mapping: MappingKey
    cause: str
    token: str = ""
    sent: int = 0
    restarts: int = 0
    finished: bool = False
    done: bool = False
    left: tuple[Left, ...] = ()

    @classmethod
    def to(cls, mapping: MappingKey, targets: Iterable[Target], *, hub: bool = True) -> Self:
        """A new one, to these other targets, and to the hub's own instances."""
        left = tuple(Left(each.account, each.region) for each in targets)
        return cls(mapping, f"mapping changed: {mapping}", done=not hub, finished=not hub and not left, left=left)


@dataclass(frozen=True)
class Sender:
    """Sends the instances with a mapping's tag to be reconciled, page by page; `elsewhere` is EC2 in another target."""

    ec2: Ec2
    queue: WorkQueue
    telemetry: Telemetry
    elsewhere: Callable[[Target], Ec2]
    each: Each

    def send(self, fan_out: FanOut, correlation_id: str, in_time: Callable[[], bool]) -> FanOut:
        """Go on from the token, for at least one page and while it is in time; returns how far it came."""
        if not fan_out.done:
            fan_out = self._own(fan_out, correlation_id, in_time)
            if not fan_out.done or (fan_out.left and not in_time()):
                return fan_out
        while fan_out.left:
            fan_out = self._others(fan_out, correlation_id)
            if not in_time():
                break
        return replace(fan_out, finished=not fan_out.left)

    def _own(self, fan_out: FanOut, correlation_id: str, in_time: Callable[[], bool]) -> FanOut:
        try:
            for page, token in self.ec2.tagged_pages(fan_out.mapping, fan_out.token):
                sent = fan_out.sent + self.queue.send((each.key for each in page), fan_out.cause, correlation_id)
                finished = not token and not fan_out.left
                fan_out = replace(fan_out, sent=sent, token=token, done=not token, finished=finished)
                if not in_time():
                    break
        except StaleTokenError as error:
            if fan_out.restarts == RESTARTS:
                raise
            text = "the instances of a mapping are read anew: EC2 takes the token no longer"
            self.telemetry.will_retry(text, mapping=str(fan_out.mapping), error=str(error))
            return replace(fan_out, token="", restarts=fan_out.restarts + 1)
        return fan_out

    def _others(self, fan_out: FanOut, correlation_id: str) -> FanOut:
        """Send a page of each of the next few targets. One that gives no answer is left to its sweep."""

        def page_of(left: Left) -> tuple[int, str] | AwsRefusalError:
            try:
                pages = self.elsewhere(Target(left.account, left.region)).tagged_pages(fan_out.mapping, left.token)
                page, token = next(pages)
            except AwsRefusalError as error:
                return error
            return self.queue.send((each.key for each in page), fan_out.cause, correlation_id), token

        some, left, sent = fan_out.left[:AT_ONCE], list(fan_out.left[AT_ONCE:]), fan_out.sent
        for target, answer in zip(some, self.each(page_of, some), strict=True):
            if isinstance(answer, AwsRefusalError):
                where = f"{target.account}/{target.region}"
                text = {"mapping": str(fan_out.mapping), "target": where, "error": str(answer)}
                self.telemetry.will_retry("a target's instances are left to its sweep", **text)
                continue
            number, token = answer
            sent += number
            left += [replace(target, token=token)] if token else []
        return replace(fan_out, left=tuple(left), sent=sent)

    def go_on(self, event: Mapping[str, Any], correlation_id: str, in_time: Callable[[], bool]) -> FanOut:
        """Go on from the last run's answer; an AwsRefusalError has this run tried again."""
        try:
            return self.send(codec.decode(FanOut, event), correlation_id, in_time)
        except AccessDeniedError as error:
            self.telemetry.denied(error, correlation_id=correlation_id)
            raise
