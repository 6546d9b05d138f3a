"""Scanning the instances that a mapping concerns.

A scan finds how many instances a mapping governs, its conflicts, foreign roles, and its impact.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from rolekeeper.aws import Ec2
from rolekeeper.instances.decide import Observation
from rolekeeper.instances.observe import observe_page
from rolekeeper.mappings.impact import Conflicts, Edit, Impact, Ranked, could_conflict
from rolekeeper.mappings.revisions import StoredMapping
from rolekeeper.mappings.table import MappingTable
from rolekeeper.model.instance import Association, AssociationState, Instance, InstanceState, in_account
from rolekeeper.model.mapping import ANY_VALUE, PublishedMapping
from rolekeeper.permissions.compare import PolicyReader
from rolekeeper.settings import Limits, Ownership
from rolekeeper.storage import State

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
