"""What would happen to instances, as values, for a person who is asked whether to do it.

The functions' own modules say it: `assess` of rows, `decide` of instances. Nothing is written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.instances.decide import resolve
from rolekeeper.instances.observe import Unreadable, observe
from rolekeeper.mappings.impact import PHRASES, WORDS
from rolekeeper.mappings.rows.columns import Attributes
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import Control, MappingKey, Pin
from rolekeeper.permissions.compare import Difference, PolicyReader, in_words
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.uses.fleet import Enforced, Seen, left_out, pages, profile_name, withheld
from rolekeeper_cli.uses.plan import Tally, permissions
from rolekeeper_cli.uses.proposal import Proposal, foresee, foresee_held
from rolekeeper_cli.uses.rows import RowPlan
from rolekeeper_cli.uses.targets import Places

# The most rows, and kinds of changes, that are spoken of one by one.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Preview:
    """What something would do to instances.

    Attributes:
        attach: instances that get a role, `replace`: another one, and `detach`: none; `only_later`: others, which
            change when a mapping expires.
        difference: the permissions that they gain and lose.
        foreign: instances concerned that carry a foreign role.
        notes: what else is to be known, each a sentence.
        unknown: why nothing of it is known; empty where it is.
        withheld: whether these are changes that would be made and then aren't.
    """

    attach: int = 0
    replace: int = 0
    detach: int = 0
    difference: Difference = Difference()  # noqa: RUF009  # frozen
    foreign: int = 0
    notes: tuple[str, ...] = ()
    unknown: str = ""
    withheld: bool = False
    only_later: int = 0

    @property
    def changes(self) -> int:
        return self.attach + self.replace + self.detach + self.only_later

    def document(self) -> dict[str, Any]:
        counts = {"attach": self.attach, "replace": self.replace, "detach": self.detach}
        counts |= {"only_later": self.only_later, "foreign": self.foreign}
        permissions = {"gained": list(self.difference.gained), "lost": list(self.difference.lost)}
        return counts | permissions | {"notes": [*self.notes], "unknown": self.unknown, "withheld": self.withheld}

    def lines(self) -> Iterator[str]:
        if self.unknown:
            yield f"What it would do to instances isn't known: {self.unknown}."
        else:
            counts = f"{self.attach:,} to attach, {self.replace:,} to replace, {self.detach:,} to detach"
            counts += f", {self.only_later:,} to change only later" if self.only_later else ""
            yield f"{'Withheld' if self.withheld else 'Instances'}: {counts}; {self.foreign:,} with a foreign role."
        if self.changes and not self.withheld:
            known = Difference(self.difference.gained, self.difference.lost)
            if known != Difference():
                yield f"Permissions: {in_words(known, WORDS)}."
            if self.difference.unknown:
                yield f"Not all permissions could be compared: {self.difference.unknown}."
            elif known == Difference():
                yield "Permissions: no change."
        yield from self.notes


def of_rows(deployment: Deployment, rows: RowPlan) -> Preview:
    """What writing a plan's rows would do."""
    try:
        proposed = foresee(deployment, rows)
    except AccessDeniedError as error:
        return Preview(unknown=_denied(error))
    return of_proposal(proposed, withheld(deployment))


def of_held(deployment: Deployment, key: MappingKey, row: Attributes, number: int) -> Preview:
    """What approving a held revision would do; where the caller may not look, what the function counted."""
    try:
        proposed = foresee_held(deployment, key, row)
    except AccessDeniedError as error:
        return _as_held(deployment.app.revisions.history(key), number) or Preview(unknown=_denied(error))
    return of_proposal(proposed, withheld(deployment), approved=True)


def of_pin(deployment: Deployment, seen: Seen, pin: Pin) -> Preview:
    """What pinning an instance would do."""
    candidates = resolve(seen.instance, seen.observed.published, seen.observed.asked_at, pin=pin)
    then = Seen.of(replace(seen.observed, pin=pin, candidates=candidates), deployment)
    if seen.observed.pin:
        note = f"It is pinned to {_named(seen.should_carry)} now."
    else:
        wanted = profile_name(seen.should_carry)
        note = f"Its tags ask for {wanted}." if wanted else "Its tags match no mapping that gives a role."
    return _of_one(deployment, seen, then, note=note)


def of_tags(deployment: Deployment, seen: Seen, tags: Mapping[str, str], *, released: bool = False) -> Preview:
    """What it would do to an instance to have these tags, or to be released from its pin.

    Raises:
        CorruptItemError: its record, or a mapping for such tags, is damaged.
    """
    key, app = seen.instance.key, deployment.app
    state = Enforced.of(deployment, released=released)
    described = {key.id: replace(seen.instance, tags=tags)}
    found = observe([key], app.ec2, state, now=deployment.now(), described=described)[key]
    if isinstance(found, Unreadable):
        raise found.error
    then = Seen.of(found, deployment)
    return _of_one(deployment, seen, then, note=f"It should carry {_named(then.should_carry)} then.")


def of_switch(deployment: Deployment, after: Control, seconds: float) -> Preview:
    """What changing the control item would do: the changes that it lets through, or withholds.

    The fleet is looked at for that many seconds: who has to stop everything at once can't wait for 100,000 instances.
    """
    will = after.withholds(deployment.settings.mode)
    until = deployment.now().timestamp() + seconds
    tally, damaged = Tally(), list[str]()
    places = Places.chosen(deployment)
    try:
        found = places.look(pages, Enforced.of)
        for seen in takewhile(lambda _: deployment.now().timestamp() < until, found):
            if isinstance(seen, Unreadable):
                damaged.append(f"{left_out(seen)}.")
            else:
                tally.count(seen)
        whole = deployment.now().timestamp() < until
    except AccessDeniedError as error:
        return Preview(unknown=_denied(error))
    number = f"{'' if whole else 'the first '}{tally.instances:,} instances"
    actions = tally.actions
    moves = [] if will else [found for _, _, found in islice(permissions(deployment, tally), _NAMED)]
    until_now = "They were withheld until now" if any(actions[each] for each in Action if each.mutates) else ""
    note = f"Nothing changes from then on: {will.reason}" if will else until_now or "Nothing was withheld until now"
    return Preview(
        actions[Action.ATTACH],
        actions[Action.REPLACE],
        actions[Action.DETACH],
        difference=_together(moves),
        foreign=tally.foreign,
        notes=(
            f"{note}. {number[0].upper()}{number[1:]} were counted.",
            *(f"{each}." for each in places.unseen_in_words()),
            *_first(damaged, "more instances are left out"),
        ),
        withheld=bool(will),
    )


def question(key: MappingKey, preview: Preview, *, deletes: bool, revision: int = 0) -> str:
    """Whether to delete a mapping, or to publish a revision of it."""
    if preview.unknown:
        return f"Delete {key}?" if deletes else f"Publish revision {revision} of {key}?"
    if not deletes:
        return f"Publish revision {revision} of {key}, which changes {_instances(preview.changes)}?"
    takes = [f"take the role from {_instances(preview.detach)}"] if preview.detach else []
    gives = [f"give {_instances(preview.replace)} another role"] if preview.replace else []
    return f"Delete {' and '.join([str(key), *takes, *gives])}?"


# ---- how ----


def of_proposal(proposed: Proposal, why_not: str, *, approved: bool = False) -> Preview:
    """The sum over rows that were judged, and of those that wouldn't be published, why.

    `why_not` says why nothing changes now; it is empty where something does.
    """
    edits = proposed.edits
    done = [each for each in edits if each.takes_effect]
    impacts = [each.impact for each in done if each.impact]
    bad = [each for each in edits if each.status not in {Status.PUBLISHED, Status.REMOVED, Status.EXPIRED}]
    said = [] if approved else [f"{each.key} would be {each.status}: {each.reason}." for each in bad]
    notes = [*_first(said, "more rows wouldn't be published as written"), *(f"{each}." for each in proposed.unseen)]
    ends = [f"{each.key}: at {each.impact.at_expiry}." for each in done if each.impact and each.impact.at_expiry]
    notes += _first(ends, "more rows change instances when they expire")
    if why_not:
        notes.append(f"No changes will be made now: {why_not}.")
    return Preview(
        sum(each.attach for each in impacts),
        sum(each.replace for each in impacts),
        sum(each.detach for each in impacts),
        difference=_together([each.difference for each in impacts]),
        foreign=sum(each.foreign for each in edits),
        notes=tuple(notes),
        only_later=sum(each.only_later for each in impacts),
    )


def _first(sentences: Sequence[str], more: str) -> list[str]:
    """Not more of them than a person reads, and then how many more there are."""
    others = [f"{len(sentences) - _NAMED:,} {more}."] if len(sentences) > _NAMED else []
    return [*sentences[:_NAMED], *others]


def _as_held(history: Iterable[Mapping[str, Any]], number: int) -> Preview | None:
    for entry in history:
        if entry.get("revision") == number and (effect := entry.get("effect")):
            difference = Difference(tuple(effect["gained"]), tuple(effect["lost"]), effect.get("unknown", ""))
            attach, replaced, detach = (int(effect[name]) for name in ("attach", "replace", "detach"))
            only_later = int(effect.get("later", {}).get("only_then", 0))
            notes = (f"It was counted at {entry['at'][:19]}Z.",)
            return Preview(attach, replaced, detach, difference=difference, notes=notes, only_later=only_later)
    return None


def _together(found: Sequence[Difference]) -> Difference:
    return Difference(
        gained=tuple(dict.fromkeys(phrase for each in found for phrase in each.gained))[:PHRASES],
        lost=tuple(dict.fromkeys(phrase for each in found for phrase in each.lost))[:PHRASES],
        unknown="; ".join(dict.fromkeys(each.unknown for each in found if each.unknown)),
    )


def _of_one(deployment: Deployment, seen: Seen, then: Seen, note: str) -> Preview:
    """What happens to one instance, seen as it is and as it would be."""
    changes = then.should_carry != seen.carries
    counts = {action: int(changes and action is _kind(seen, then)) for action in Action}
    notes = [note]
    if seen.carries and not seen.managed:
        notes.append(f"It carries the foreign {seen.carries}, which Rolekeeper can't put back.")
    if then.decision.action in {Action.WAIT, Action.HOLD}:
        notes.append(f"It doesn't change at once: {then.decision.reason}.")
    if why := withheld(deployment):
        notes.append(f"No changes will be made now: {why}.")
    reader = PolicyReader(deployment.app.iam)
    role = then.decision.role if then.should_carry else ""
    return Preview(
        counts[Action.ATTACH],
        counts[Action.REPLACE],
        counts[Action.DETACH],
        difference=reader.difference(seen.carries, role) if changes else Difference(),
        foreign=int(bool(seen.carries) and not seen.managed),
        notes=tuple(notes),
    )


def _named(profile_arn: str) -> str:
    return profile_name(profile_arn) or "none"


def _kind(seen: Seen, then: Seen) -> Action:
    if not then.should_carry:
        return Action.DETACH
    return Action.REPLACE if seen.carries else Action.ATTACH


def _instances(number: int) -> str:
    return f"{number:,} {'instance' if number == 1 else 'instances'}"


def _denied(error: AccessDeniedError) -> str:
    return f"you aren't allowed {error.action} on {error.resource}"
