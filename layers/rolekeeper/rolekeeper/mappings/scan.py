"""Looking at the instances with a mapping's tag: how many it governs, conflicts, foreign roles, its impact.

And sending them to be reconciled.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from rolekeeper.aws import Ec2, WorkQueue
from rolekeeper.aws.ec2 import RESTARTS
from rolekeeper.aws.errors import AccessDeniedError, StaleTokenError
from rolekeeper.instances.decide import resolve
from rolekeeper.instances.observe import Observation, observe_page
from rolekeeper.mappings.impact import Conflicts, Impact, Ranked, could_conflict
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.mappings.table import MappingTable
from rolekeeper.model.instance import Association, AssociationState, Instance, InstanceState
from rolekeeper.model.mapping import ANY_VALUE, MappingKey, PublishedMapping
from rolekeeper.permissions import Difference, PolicyReader
from rolekeeper.settings import Limits, Ownership
from rolekeeper.storage import State, codec, layout
from rolekeeper.telemetry import Telemetry

# Pairs of profiles whose roles are compared, those of the most instances first: each costs a few calls to IAM.
COMPARED = 5


# How nodes are told, by the tags that the services and their tools set on them, and by the profiles that they make:
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


@dataclass(slots=True)
class Scan:
    """What a pass over the instances with a mapping's tag found.

    The candidate would govern `matched` of them, what is published governs `published_matched`. Of the former so many
    carry a `foreign` role, and are `nodes` of these services; `profile_ids` are carried under the candidate's own ARN.
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
        """Add one instance that carries the candidate's tag: with what it carries, and how its mappings rank."""
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

    def about_foreign(self, *, taken: bool) -> str:
        """What to tell people, without a number, which changes with the fleet."""
        if not self.foreign:
            return ""
        among = f", {' and '.join(sorted(self.nodes))} nodes among them" if self.nodes else ""
        if taken:
            return f"it takes over instances that carry foreign roles{among} (occupied says how many)"
        return f"instances that carry foreign roles keep them{among} (occupied says how many; explain says what to do)"


@dataclass(frozen=True)
class ImpactScanner:
    """Scans for mappings that are about to be published. Made anew for each invocation: it counts the fleet once."""

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

    def scan(self, candidate: PublishedMapping, published: PublishedMapping | None, now: datetime) -> Scan:
        """Look at every instance with a candidate's tag; that, and what is published now, may be tombstones."""
        found = Scan()
        for page in self.ec2.tagged(candidate.key):
            for seen in observe_page(page, self.ec2, self.state, now):
                # One with a damaged record can't be reconciled, so it doesn't change. It counts as governed all the
                # same, as long as its mappings can be read.
                if seen.published is None:
                    continue
                assert seen.instance is not None  # it is one of the page
                association, pin = (seen.association, seen.pin) if isinstance(seen, Observation) else (None, None)
                rest = [each for each in seen.published if each.key != candidate.key]
                before = published, resolve(seen.instance, [*rest, published] if published else rest, now, pin)
                after = candidate, resolve(seen.instance, [*rest, candidate], now, pin)
                found.add(seen.instance, association, before, after, self.ownership)
                found.published_matched += published is not None and before[1].winner is published
                if isinstance(seen, Observation):
                    found.impact.add(seen, before, after, self.ownership)
        return found

    def compared(
        self, impact: Impact, candidate: PublishedMapping, published: PublishedMapping | None, took: int
    ) -> Impact:
        """What a candidate (or a tombstone) would do, with permissions, and with the fleet where that decides.

        `took`: what other edits changed in the window. IAM's refusals are no error: the difference says them.
        """
        # The candidate's own profile may have still to be made; it will hold the candidate's role.
        own, role = candidate.profile_arn, candidate.spec.role if candidate.profile_arn else ""
        moves = [(was, role if to == own else to) for (was, to), _ in impact.moves.most_common()]
        found = [self.policies.difference(*move) for move in moves[:COMPARED]]
        difference = Difference(
            gained=tuple(dict.fromkeys(phrase for each in found for phrase in each.gained)),
            lost=tuple(dict.fromkeys(phrase for each in found for phrase in each.lost)),
            unknown="; ".join(dict.fromkeys(each.unknown for each in found if each.unknown)),
        )
        # What instances will gain once some match counts too. Without the row's consent none had a broad permission.
        consented = published.profile_arn if published and published.spec.allow_broad else ""
        moves += [("", "") if candidate.deleted else (consented, role)]
        gains = [phrase for move in dict.fromkeys(moves) for phrase in self.policies.severe_gain(*move)]
        limits, severe = self.limits, tuple(dict.fromkeys(gains))
        known = replace(impact, difference=difference, severe=severe)
        impact = replace(known, took=took, minutes=limits.minutes, allowed=limits.per_edit)
        if not impact.exceeds:
            return impact
        return replace(impact, fleet=self.fleet, allowed=limits.allowed(self.fleet))

    def add_possible_conflicts(
        self, conflicts: Conflicts, candidate: PublishedMapping, stored: StoredMapping, now: datetime
    ) -> None:
        """Add the conflicts with mappings of the same tag key that instances could meet, though none does today."""
        exact = candidate.key.tag_value != ANY_VALUE
        published = stored.published
        for other in [stored.any_value] if exact else self._exact(candidate.key.tag_key):
            if other and could_conflict(candidate, other, now):
                conflicts.of(other).new |= not (published and could_conflict(published, other, now))

    def _exact(self, tag_key: str) -> Iterator[PublishedMapping]:
        """The published mappings of one tag key: an exact row meets only the `*` row, but that one meets them all."""
        for keys in self.table.keys_of(tag_key):
            snapshot = self.state.read([], [key for key in keys if layout.fits_partition(key)])
            for damaged in snapshot.damaged.values():
                raise damaged
            yield from snapshot.published.values()


@dataclass(frozen=True, slots=True)
class FanOut:
    """The sending of a mapping's instances: how many were sent, and EC2's `token` of the page to read next."""

    mapping: MappingKey
    cause: str
    token: str = ""
    sent: int = 0
    restarts: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Sender:
    """Sends the instances with a mapping's tag to be reconciled, page by page."""

    ec2: Ec2
    queue: WorkQueue
    telemetry: Telemetry

    def send(self, done: FanOut, correlation_id: str, in_time: Callable[[], bool]) -> FanOut:
        """Go on from the token, for a page at least and for more while it is in time; returns how far it came."""
        try:
            for page, token in self.ec2.tagged_pages(done.mapping, done.token):
                sent = self.queue.send((each.key for each in page), done.cause, correlation_id)
                done = replace(done, sent=done.sent + sent, token=token, finished=not token)
                if not in_time():
                    break
        except StaleTokenError as error:
            if done.restarts == RESTARTS:
                raise
            text = "the instances of a mapping are read anew: EC2 takes the token no longer"
            self.telemetry.will_retry(text, mapping=str(done.mapping), error=str(error))
            return replace(done, token="", restarts=done.restarts + 1)
        return done

    def go_on(self, event: Mapping[str, Any], correlation_id: str, in_time: Callable[[], bool]) -> FanOut:
        """Go on from where the last run answered that it was; an AwsRefusalError has this run tried again."""
        try:
            return self.send(codec.decode(FanOut, event), correlation_id, in_time)
        except AccessDeniedError as error:
            self.telemetry.denied(error, correlation_id=correlation_id)
            raise
