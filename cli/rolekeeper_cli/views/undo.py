"""How to undo the change that made an instance carry what it carries: only steps that bring back what was there.

Each step is tried before it is named: the functions' own `decide` says what the instance would carry after it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.observe import Unreadable, observe
from rolekeeper.mappings.rows.reader import read_row
from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import IGNORE_TAG, NO_ROLE, PIN_TAG, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.model.problem import Kind, Remedy
from rolekeeper.permissions import PolicyReader, Roles
from rolekeeper.storage.layout import REFUSED
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.instances import account_options, addressed
from rolekeeper_cli.views import looking
from rolekeeper_cli.views.looking import Enforced, Seen, profile_name
from rolekeeper_cli.writes.old_revisions import revision_before

type Entry = Mapping[str, Any]

# Tags that only AWS sets and removes (EC2 user guide, "Tag restrictions").
_AWS = "aws:"
_BY_HAND = "which only a person can put back"


@dataclass(frozen=True, slots=True)
class Former:
    """What an instance carried before: the profile, by ARN, empty for none; until when, empty while it still does."""

    profile_arn: str
    until: str = ""

    @property
    def name(self) -> str:
        """The profile in words."""
        return profile_name(self.profile_arn) or "no role"

    def document(self) -> dict[str, Any]:
        """For programs."""
        name = profile_name(self.profile_arn)
        return {"instance_profile": name, "profile_arn": self.profile_arn or None, "until": self.until or None}


@dataclass(frozen=True, slots=True)
class Step:
    """A step, and what it does."""

    remedy: Remedy
    does: str

    def document(self) -> dict[str, str]:
        """For programs: as a command."""
        return {"command": str(self.remedy), "does": self.does}


def former(seen: Seen, entries: Sequence[Entry]) -> Former | None:
    """What was there before the change that made the instance carry what it carries; None: that was none of ours.

    Args:
        seen: the instance.
        entries: its history, newest first.
    """
    if seen.should_carry != seen.carries and seen.decision.action is not Action.HOLD:
        # The change is still to come.
        return Former(seen.carries)
    made = (each for each in entries if each.get("outcome") != REFUSED)
    changes = [each for each in made if Action(each["decision"]["action"]).mutates]
    # A swap is two changes, and so is one that another actor reverted: what was there is what the first one saw.
    same = list(takewhile(lambda each: each["decision"]["profile-arn"] == seen.carries, changes))
    return Former(same[-1]["seen"]["profile-arn"], same[-1]["at"]) if same else None


def steps(deployment: Deployment, seen: Seen, before: Former) -> Iterator[Step]:
    """What brings that back, the mildest first."""
    yield from _Undoing(deployment, seen, before).steps()


@dataclass(frozen=True)
class _Undoing:
    deployment: Deployment
    seen: Seen
    before: Former

    def steps(self) -> Iterator[Step]:
        pin, name = self.seen.observed.pin, addressed(self.deployment, self.seen.instance.key.id)
        again = f"it carries {self.before.name} again" if self.before.until else f"it keeps {self.before.name}"
        if pin and not pin.expired(self.seen.observed.asked_at) and self._brings_it_back(released=True):
            yield Step(Remedy(Kind.RELEASE, (name,)), f"ends the pin: {again}")
        for key in self._deciding_tags():
            if self._brings_it_back(without=key):
                yield Step(self._of_aws(Kind.UNTAG, self.seen.instance.key.id, key), f"for this instance: {again}")
        for mapping in self.seen.observed.published:
            yield from self._by_mapping(mapping, again)
        yield from self._by_hand(name, again)

    def _deciding_tags(self) -> Iterator[str]:
        winner = self.seen.observed.candidates.winner
        if IGNORE_TAG in self.seen.instance.tags:
            yield IGNORE_TAG
        if winner and not winner.key.pins and not winner.key.tag_key.startswith(_AWS):
            yield winner.key.tag_key

    def _by_mapping(self, mapping: PublishedMapping, again: str) -> Iterator[Step]:
        """The revision before brings it back, or, where there is none, that the mapping goes."""
        key = mapping.key
        try:
            old = revision_before(self.deployment, key, mapping.revision)
        except CommandError:
            tombstone = replace(mapping, deleted=True)
            # What hasn't changed this one yet may have changed others: they would lose it.
            if self.before.until and not mapping.deleted and self._brings_it_back(served={key: tombstone}):
                yield Step(key.remedy(Kind.REMOVE_MAPPING), f"for all of the mapping's instances; {again}")
            return
        restored = looking.published_there(self.deployment, replace(old, revision=mapping.revision + 1))
        brings_it_back = self._brings_it_back(served={key: restored}) and self._can_be_given(old.spec)
        if brings_it_back and not self._is_asked_for(old.spec):
            does = f"for all of the mapping's instances; {again}"
            yield Step(key.remedy(Kind.ROLL_BACK, str(old.revision)), does)

    def _by_hand(self, name: str, again: str) -> Iterator[Step]:
        """A pin to what was there; a foreign role, a person has to put back."""
        ownership, carries, arn = self.deployment.settings.ownership, self.seen.carries, self.before.profile_arn
        if arn and not ownership.manages(arn):
            yield from self._foreign(name)
        elif carries == arn or (carries and not self.seen.managed and not ownership.take_over):
            return
        elif not arn:
            yield Step(Remedy(Kind.DETACH, (name,)), f"{again}, whatever its tags say")
        elif spec := self._spec_of(arn):
            other = () if spec.role == spec.profile_name else (spec.profile_name,)
            remedy = Remedy(Kind.REPLACE if carries else Kind.ATTACH, (name, spec.role, *other))
            yield Step(remedy, f"{again}, whatever its tags say")

    def _foreign(self, name: str) -> Iterator[Step]:
        association, pin = self.seen.observed.association, self.seen.observed.pin
        winner = self.seen.observed.candidates.winner
        if association and association.profile_arn == self.before.profile_arn:
            return
        id_ = self.seen.instance.key.id
        yield Step(self._of_aws(Kind.TAG, id_, IGNORE_TAG, "true"), "first: leave it alone")
        if pin:
            yield Step(Remedy(Kind.RELEASE, (name,)), "then: ends the pin, which comes before that tag")
        if winner and winner.spec.role == NO_ROLE and not winner.key.pins:
            untag = self._of_aws(Kind.UNTAG, id_, winner.key.tag_key)
            yield Step(untag, "then: ends the quarantine, which comes before that tag")
        profile = f"--iam-instance-profile Arn={self.before.profile_arn}"
        if association:
            command = f"aws ec2 replace-iam-instance-profile-association --association-id {association.id} {profile}"
        else:
            command = f"aws ec2 associate-iam-instance-profile --instance-id {id_} {profile}"
        does = f"then: puts back the foreign {self.before.name}, {_BY_HAND}"
        yield Step(self._of_aws(Kind.OTHER, command), does)

    def _of_aws(self, kind: Kind, *arguments: str) -> Remedy:
        return Remedy(kind, arguments, account_options(self.deployment))

    # ---- trying ----

    def _brings_it_back(
        self,
        *,
        released: bool = False,
        without: str = "",
        served: Mapping[MappingKey, PublishedMapping] | None = None,
    ) -> bool:
        """Whether the instance would carry what was there: without its pin, or a tag, or with other mappings."""
        app, instance = self.deployment.app, self.seen.instance
        tags = {key: value for key, value in instance.tags.items() if key != without}
        state = Enforced.of(self.deployment, dict(served or {}), released=released)
        then = replace(instance, tags=tags)
        found = observe([instance.key], app.ec2, state, now=self.deployment.now(), described={instance.key.id: then})[
            instance.key
        ]
        if isinstance(found, Unreadable):
            return False
        return Seen.of(found, self.deployment).should_carry == self.before.profile_arn

    def _can_be_given(self, spec: MappingSpec) -> bool:
        """Whether the role passes the checks now; where IAM doesn't say so, the step isn't named."""
        settings = replace(self.deployment.settings, create_missing_profiles=False)
        roles = Roles(PolicyReader(self.deployment.app.iam), settings)
        with suppress(AwsRefusalError):
            return not roles.check(spec).problem
        return False

    def _is_asked_for(self, spec: MappingSpec) -> bool:
        """Whether the row says that already, and waits: to write it once more would change nothing."""
        with suppress(AwsRefusalError):
            row = self.deployment.app.table.get_row(spec.key) or {}
            return read_row(row, self.deployment.app.home).spec == spec
        return True

    def _spec_of(self, profile_arn: str) -> MappingSpec | None:
        """What a pin to this profile says, if that can be given."""
        name = profile_name(profile_arn) or ""
        with suppress(AwsRefusalError):
            profile = self.deployment.app.iam.get_instance_profile(name)
            if profile and profile.role_arn:
                spec = MappingSpec(MappingKey(PIN_TAG, ""), profile.role_name, name)
                return spec if self._can_be_given(spec) else None
        return None
