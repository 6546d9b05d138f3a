"""The instances of the fleet as they are shown, and what software does with their roles."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import InstanceStatus
from rolekeeper.instances.observe import Unreadable
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.fleet.view import FleetRowView
from rolekeeper_cli.instance.event_history import EventHistory, no_answer
from rolekeeper_cli.instance.history import Span
from rolekeeper_cli.instance.seen import Seen, profile_name
from rolekeeper_cli.instance.uptake import (
    Told,
    of_instance,
    recent_spans,
    recipient,
    roles_by_arn,
    roles_by_profile,
    unknown_of,
)
from rolekeeper_cli.instance.use import name_of, where
from rolekeeper_cli.instance.view import UptakeView
from rolekeeper_cli.shell.layout import grouped
from rolekeeper_cli.target.use import Places


def row_view(seen: Seen | Unreadable) -> FleetRowView:
    """One instance. If its record is damaged, what EC2 shows of it, and why there is no decision."""
    instance = seen.instance
    assert instance is not None  # EC2 listed it
    shown = FleetRowView.of_nothing().but(
        **where(instance.key),
        name=name_of(instance),
        state=instance.state.value,
        tags=dict(instance.tags),
        stands=InstanceStatus.UNKNOWN.value,
        reason=seen.error.message if isinstance(seen, Unreadable) else seen.reason,
    )
    if isinstance(seen, Unreadable):
        return shown
    decision, association = seen.decision, seen.observed.association
    return shown.but(
        carries=profile_name(seen.carries),
        should_carry=profile_name(seen.should_carry),
        mapping=str(decision.mapping) if decision.mapping else None,
        revision=decision.revision,
        stands=seen.standing.value,
        action=decision.action.value,
        code=decision.code,
        association=association.id if association else None,
        managed=seen.managed,
        not_in_effect=seen.effect.views(),
    )


# ---- what software does with their roles ----

# Up to this many instances it is faster, and says more, to ask for each.
FEW = 10
# What is looked through at most in a target. 1,000 instances get credentials 6,000 times in six hours: 120 pages.
_PAGES, _SECONDS = 300, 600.0
# Others ask too, and may use up the rate.
_PAUSES = (2.0, 4.0, 8.0)
# The instances of a target whose calls are looked for, each on one page.
ASKED = 120


def uptakes(places: Places, seen: Iterable[Seen]) -> dict[str, UptakeView]:
    """By an instance's id, without asking CloudTrail for each.

    EC2's deliveries to all instances are read at once, and the calls only of those whose role changed lately.
    """
    by_target = grouped((each.instance.key.target, each) for each in seen)
    asked = Places([each for each in places.all if each.settings.target in by_target])
    found = asked.ask(lambda place: _in_target(place, by_target[place.settings.target]))
    return {each.instance: each for each in found}


def _in_target(deployment: Deployment, seen: Sequence[Seen]) -> list[UptakeView]:
    try:
        return _of_target(deployment, seen)
    except AwsRefusalError as error:
        return [unknown_of(deployment, each.instance.key, name_of(each.instance), error=error) for each in seen]


def _of_target(deployment: Deployment, seen: Sequence[Seen]) -> list[UptakeView]:
    if len(seen) <= FEW:
        return [of_instance(deployment, each.instance.key, name_of(each.instance)) for each in seen]
    role_of = roles_by_profile(deployment)
    now, members = deployment.now(), dict[str, _Member]()
    for each in seen:
        spans = [Span(each.carries, carried=True, role_arn=role_of(each.carries))] if each.carries else []
        told = Told(each.instance.key.id, spans, now, started=each.instance.started, asked=False)
        members[each.instance.key.id] = _Member(each, told)
    answers = _read_deliveries(deployment, members)
    changed = [each for each in members.values() if each.changed]
    with deployment.progress(len(changed), "histories of changed instances read") as progress:
        for member in progress.over(changed):
            key, shown = member.seen.instance.key, member.seen.observed.association
            member.told.spans = recent_spans(deployment, key, shown, role_of=role_of)
    role_now = roles_by_arn(deployment)
    for member in members.values():
        member.told.look_roles_up(role_now)
    if answers:
        _look_calls_up(deployment, changed)
    return [each.uptake() for each in members.values()]


@dataclass(slots=True)
class _Member:
    """An instance of the fleet, and what is known of it."""

    seen: Seen
    told: Told

    @property
    def changed(self) -> bool:
        """Whether it got another role in the time that matters: EC2 delivered one, or Rolekeeper changed it."""
        record, carried = self.seen.observed.record, {each.role_arn for each in self.told.spans}
        ours = [*(each.at for each in record.grants.values()), *(each.at for each in record.changes)]
        return bool(self.told.deliveries.keys() - carried) or any(at > self.told.window for at in ours)

    def uptake(self) -> UptakeView:
        instance = self.seen.instance
        return self.told.view(instance.key, name_of(instance), self.told.roles())


def _read_deliveries(deployment: Deployment, members: Mapping[str, _Member]) -> bool:
    """Read which roles EC2 got credentials of; returns whether CloudTrail answers."""
    since, refused, cut = min(each.told.window for each in members.values()), "", ""
    until = f"until {since:%H:%M UTC}, in {deployment.settings.target}"
    try:
        with deployment.progress(None, "CloudTrail records read") as progress:
            history = EventHistory(deployment, pages=_PAGES, seconds=_SECONDS, pauses=_PAUSES)
            for event in history.lookup("EventName", "AssumeRole", since):
                progress.at(history.looked_at, rest=f"back to {event.at:%H:%M}, {until}")
                if member := members.get(recipient(event)):
                    member.told.delivered(event)
    except AwsRefusalError as error:
        refused = no_answer(deployment, error)
    else:
        cut = f"only the newest {history.looked_at:,} of CloudTrail's records were read" if history.cut else ""
    for member in members.values():
        member.told.unknown = refused or cut
        member.told.answered = not member.told.unknown
    return not refused


def _look_calls_up(deployment: Deployment, changed: Sequence[_Member]) -> None:
    """Look for the calls of the first of these, the newest page of each."""
    some = [each.told for each in changed[:ASKED]]
    try:
        with deployment.progress(len(some), "changed instances asked for their calls") as progress:
            history = EventHistory(deployment, pages=1, seconds=_SECONDS, pauses=_PAUSES)
            for told in progress.over(some):
                told.look_through(history.lookup("Username", told.instance, told.since))
                told.asked, told.whole, history.cut = True, told.whole and not history.cut, False
    except AwsRefusalError as error:
        for told in some:
            told.unknown = told.unknown if told.asked else no_answer(deployment, error)
