"""Why an instance carries what it carries, what it should carry, and how to undo it, decided as the functions do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from shlex import quote

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.nodes import advice_for, node_of
from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import IGNORE_TAG, NO_ROLE, PIN_TAG, MappingKey, MappingSpec, Pin, PublishedMapping
from rolekeeper.model.problem import Kind, Remedy
from rolekeeper.permissions.comparison import PolicyReader
from rolekeeper.permissions.roles import Roles
from rolekeeper.storage import layout
from rolekeeper.storage.layout import REFUSED
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.instance import uptake, who
from rolekeeper_cli.instance.history import Span, decision_fields, newest, spans
from rolekeeper_cli.instance.seen import Enforced, Seen, decided, profile_name, seen_now
from rolekeeper_cli.instance.use import account_options, addressed, find_instance, located, name_of, where
from rolekeeper_cli.instance.view import (
    AssociationView,
    ConditionView,
    DecisionView,
    EntryView,
    ExplanationView,
    FormerView,
    GoverningView,
    LoserView,
    PinView,
    StepView,
    TakenOverView,
)
from rolekeeper_cli.row.edits import revision_before
from rolekeeper_cli.row.effect import Rows, published_there, withheld
from rolekeeper_cli.row.overlaps import Overlap, overlaps

# ---- how to undo the last change ----

# Tags that only AWS sets and removes (EC2 user guide, "Tag restrictions").
_AWS = "aws:"
_BY_HAND = "which only a person can put back"


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, and what it does."""

    remedy: Remedy
    does: str

    def view(self) -> StepView:
        return StepView(command=str(self.remedy), does=self.does)


def former(seen: Seen, entries: Sequence[EntryView], carried: Sequence[Span]) -> FormerView | None:
    """What the instance carried before the last change, by its history; None if that change wasn't Rolekeeper's.

    When it was taken is what `carried` says, as for `rolekeeper uptake`.
    """
    if seen.should_carry != seen.carries and seen.decision.action is not Action.HOLD:
        # The change is still to come.
        return _former(seen.carries, None)
    made = (each for each in entries if each.outcome != REFUSED)
    changes = [each for each in made if Action(each.action).mutates]
    # A swap is two changes, and so is one that another actor reverted: the first one saw what was there.
    same = list(takewhile(lambda each: (each.profile_arn or "") == seen.carries, changes))
    if not same:
        return None
    before = same[-1].seen.profile_arn or ""
    # Another actor may have put it back since, and Rolekeeper taken it again.
    taken = [layout.timestamp(span.until) for span in carried if span.profile_arn == before and span.until]
    return _former(before, taken[-1] if taken else same[-1].at)


def _former(profile_arn: str, until: str | None) -> FormerView:
    return FormerView(instance_profile=profile_name(profile_arn), profile_arn=profile_arn or None, until=until)


@dataclass(frozen=True)
class _Undoing:
    """The steps that bring back what was there, the mildest first."""

    deployment: Deployment
    seen: Seen
    before: FormerView
    rows: Rows

    def steps(self) -> Iterator[Step]:
        name = addressed(self.deployment, self.seen.instance.key.id)
        again = f"it carries {self.before.title} again" if self.before.until else f"it keeps {self.before.title}"
        if self._node:
            yield from self._foreign(name)
            return
        if self.seen.pin and self._brings_it_back(released=True):
            yield Step(Remedy(Kind.RELEASE, (name,)), f"ends the pin: {again}")
        for key in self._deciding_tags():
            if self._brings_it_back(without=key):
                yield Step(self._of_aws(Kind.UNTAG, self.seen.instance.key.id, key), f"for this instance: {again}")
        for mapping in self.seen.observed.published:
            yield from self._by_mapping(mapping, again)
        yield from self._by_hand(name, again)

    @property
    def _arn(self) -> str:
        """The profile that it carried before; empty for none."""
        return self.before.profile_arn or ""

    @property
    def _node(self) -> str:
        """The service whose node it is: then it is left alone, and no step changes its role."""
        return node_of(self.seen.instance, self._arn) or node_of(self.seen.instance, self.seen.carries)

    def _deciding_tags(self) -> Iterator[str]:
        winner = self.seen.observed.candidates.winner
        if IGNORE_TAG in self.seen.instance.tags:
            yield IGNORE_TAG
        if winner and not winner.key.pins and not winner.key.tag_key.startswith(_AWS):
            yield winner.key.tag_key

    def _by_mapping(self, mapping: PublishedMapping, again: str) -> Iterator[Step]:
        """Rolling the mapping back, or, if it has no revision before, removing it."""
        key = mapping.key
        old = revision_before(self.deployment, key, mapping.revision)
        if old is None:
            tombstone = replace(mapping, deleted=True)
            # If the mapping hasn't changed this instance yet, it may have changed others, which would lose its role.
            if self.before.until and not mapping.deleted and self._brings_it_back(served={key: tombstone}):
                yield Step(key.remedy(Kind.REMOVE_MAPPING), f"for all of the mapping's instances; {again}")
            return
        restored = published_there(self.deployment, old)
        brings_it_back = self._brings_it_back(served={key: restored}) and self._can_be_given(old.spec)
        # A row that has that spec already waits: to write it again would change nothing.
        asks = (row.spec == old.spec for row in self.rows.of_keys([old.spec.key]))
        if brings_it_back and not (self.rows.unknown or any(asks)):
            does = f"for all of the mapping's instances; {again}"
            yield Step(key.remedy(Kind.ROLL_BACK, str(old.revision)), does)

    def _by_hand(self, name: str, again: str) -> Iterator[Step]:
        """A pin to what was there, or still is. A foreign role has to be put back by a person."""
        ownership, carries, arn = self.deployment.settings.ownership, self.seen.carries, self._arn
        if arn and not ownership.manages(arn):
            yield from self._foreign(name)
        elif carries and not self.seen.managed and not ownership.take_over:
            return
        elif not arn:
            yield Step(Remedy(Kind.DETACH, (name,)), f"{again}, whatever its tags say")
        elif spec := self._spec_of(arn):
            other = () if spec.role == spec.profile_name else (spec.profile_name,)
            remedy = Remedy(Kind.REPLACE if carries else Kind.ATTACH, (name, spec.role, *other))
            yield Step(remedy, f"{again}, whatever its tags say")

    def _foreign(self, name: str) -> Iterator[Step]:
        association = self.seen.observed.association
        winner = self.seen.observed.candidates.winner
        quarantined = winner is not None and winner.spec.role == NO_ROLE and not winner.key.pins
        id_ = self.seen.instance.key.id
        ignore = self._of_aws(Kind.TAG, id_, IGNORE_TAG, "true")
        if association and association.profile_arn == self._arn:
            if not self.seen.pin and not quarantined:
                yield Step(ignore, f"leave it alone: it keeps {self.before.title}")
            return
        yield Step(ignore, f"first: leave it alone{self._node and f'; {advice_for(self._node)}'}")
        if self.seen.pin:
            yield Step(Remedy(Kind.RELEASE, (name,)), "then: ends the pin, which comes before that tag")
        if winner and quarantined:
            untag = self._of_aws(Kind.UNTAG, id_, winner.key.tag_key)
            yield Step(untag, "then: ends the quarantine, which comes before that tag")
        if self._node:
            return
        profile = f"--iam-instance-profile {quote(f'Arn={self._arn}'.replace(',', r'\,'))}"
        if association:
            command = f"aws ec2 replace-iam-instance-profile-association --association-id {association.id} {profile}"
        else:
            command = f"aws ec2 associate-iam-instance-profile --instance-id {id_} {profile}"
        does = f"then: puts back the foreign {self.before.title}, {_BY_HAND}"
        yield Step(self._of_aws(Kind.OTHER, command), does)

    def _of_aws(self, kind: Kind, *arguments: str) -> Remedy:
        return Remedy(kind, arguments, account_options(self.deployment))

    # ---- trying ----

    def _brings_it_back(
        self, *, released: bool = False, without: str = "", served: Mapping[MappingKey, PublishedMapping] | None = None
    ) -> bool:
        """Whether the instance would carry what was there: without its pin, or a tag, or with other mappings."""
        tags = {key: value for key, value in self.seen.instance.tags.items() if key != without}
        state = Enforced.of(self.deployment, dict(served or {}), released=released)
        [then] = decided(self.deployment, state, [[replace(self.seen.instance, tags=tags)]])
        return isinstance(then, Seen) and then.should_carry == self._arn

    def _can_be_given(self, spec: MappingSpec) -> bool:
        """Whether the role passes the checks now; unless IAM confirms it, the step isn't shown."""
        settings = replace(self.deployment.settings, create_missing_profiles=False)
        roles = Roles(PolicyReader(self.deployment.app.iam), settings)
        with suppress(AwsRefusalError):
            return not roles.check(spec).problem
        return False

    def _spec_of(self, profile_arn: str) -> MappingSpec | None:
        """The spec of a pin to this profile, if its role passes the checks."""
        name = profile_name(profile_arn) or ""
        with suppress(AwsRefusalError):
            profile = self.deployment.app.iam.get_instance_profile(name)
            if profile and profile.role_arn:
                spec = MappingSpec(MappingKey(PIN_TAG, ""), profile.role_name, name)
                return spec if self._can_be_given(spec) else None
        return None


# ---- the explanation ----

# How far back the last take-over is looked for, in history entries.
_LOOKED_THROUGH = 100


@dataclass(frozen=True, slots=True)
class Explanation:
    """An instance explained; `entries` are its history, newest first, by which it carried the roles of `spans`."""

    view: ExplanationView
    undo: Sequence[Step]
    tags: Mapping[str, str]
    entries: Sequence[EntryView]
    spans: Sequence[Span]
    ladder: Overlap | None  # the mappings that match it; None if fewer than two do


def explanation(
    deployment: Deployment, text: str, *, ask_who: bool, ask_uptake: bool = False, limit: int = _LOOKED_THROUGH
) -> Explanation:
    """The instance that a text names, explained; who did what, and whether software uses its role, only if asked.

    The newest entries of its history are read, up to a `limit`. CommandError if there is no such instance;
    CorruptItemError if an item of the state table isn't what Rolekeeper wrote: it decides nothing for the instance.
    """
    deployment, text = located(deployment, text)
    key, rows = find_instance(deployment, text).key, Rows(deployment)
    seen = seen_now(deployment, key, rows=rows)
    entries = newest(deployment, key, limit)
    answers = who.ask(deployment, key.id, who.about_now(seen.observed, entries)) if ask_who else []
    carried = spans(entries, seen.observed.association, granted=seen.observed.grant is not None)
    before = former(seen, entries, carried)
    waits = seen.observed.record.condition
    steps = list(_Undoing(deployment, seen, before, rows=rows).steps()) if before else []
    asks, name = ask_uptake and (seen.carries or entries), name_of(seen.instance)
    software = uptake.of_instance_if_readable(deployment, key, name) if asks else None
    view = ExplanationView(
        **where(key),
        name=name,
        state=seen.instance.state.value,
        carries=_carried(seen, carried),
        should_carry=profile_name(seen.should_carry),
        decision=DecisionView(**decision_fields(layout.described(seen.decision))),
        because=seen.because,
        withheld=withheld(deployment),
        mapping=_mapping(seen.observed.candidates.winner),
        losers=[LoserView(mapping=str(lost.mapping), why=lost.reason) for lost in seen.effect.overridden],
        not_in_effect=seen.effect.views(),
        unknown_because=rows.unknown or None,
        pin=_pin(seen.pin),
        condition=ConditionView(**{name: getattr(waits, name) for name in ConditionView.fields}) if waits else None,
        took_over_from=_took_over_from(entries, seen),
        who=answers,
        uptake=software,
        last=next(iter(entries), None),
        former=before,
        undo=[step.view() for step in steps],
    )
    published = {each.key: each for each in seen.observed.published}
    tagged = (seen.instance.key.target, tuple(seen.instance.tags.items()), str(seen.decision.mapping or ""))
    ladder = next(iter(overlaps([tagged], published, lambda _, each: each, now=seen.observed.asked_at)), None)
    return Explanation(view, steps, tags=seen.instance.tags, entries=entries, spans=carried, ladder=ladder)


def _carried(seen: Seen, carried: Sequence[Span]) -> AssociationView | None:
    association, grant = seen.observed.association, seen.observed.grant
    if association is None:
        return None
    present = next((span for span in carried if span.carried), Span("", granted=grant is not None))
    return AssociationView(
        instance_profile=profile_name(association.profile_arn),
        profile_arn=association.profile_arn,
        association=association.id,
        state=association.state.value,
        managed=seen.managed,
        attached_by=present.attached_by,
        for_=str(grant.mapping) if grant else None,
        revision=grant.revision if grant else None,
    )


def _mapping(winner: PublishedMapping | None) -> GoverningView | None:
    if winner is None or winner.key.pins:
        return None
    spec = winner.spec
    shown = {name: getattr(spec, name) for name in ("role", "priority", "owner", "description")}
    return GoverningView(mapping=str(winner.key), revision=winner.revision, **shown)


def _pin(pin: Pin | None) -> PinView | None:
    if pin is None:
        return None
    claims = {"claimed_by": pin.by, "claimed_reason": pin.reason}
    return PinView(role=pin.role, expires_at=pin.expires_at, **claims, unclear=pin.unclear)


def _took_over_from(entries: Iterable[EntryView], seen: Seen) -> TakenOverView | None:
    """The foreign role that the last take-over replaced or detached, unless another actor changed it since."""
    if seen.carries and not seen.managed:
        return None
    for entry in entries:
        if entry.takes_over and entry.outcome != REFUSED:
            return TakenOverView(profile_arn=entry.seen.profile_arn or "", at=entry.at)
    return None
