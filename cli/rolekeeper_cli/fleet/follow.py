"""Following instances until each carries what it should, as long as more of them do.

Whether an instance does is the functions' own decision, at each look.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from rolekeeper.instances.observe import Unreadable
from rolekeeper.model.instance import Action, AssociationState, Instance, InstanceKey
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import Kind, advice
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ExitCode, WaitTimeoutError
from rolekeeper_cli.fleet.view import FollowedView, StuckView
from rolekeeper_cli.instance.seen import Enforced, Seen, decided, named, pages
from rolekeeper_cli.instance.use import address, addressed, name_of, titled
from rolekeeper_cli.row import edits
from rolekeeper_cli.row.effect import Effect, NotInEffect, Rows, of_mapping, withheld
from rolekeeper_cli.row.names import require_mapping
from rolekeeper_cli.shell.layout import amount, grouped, several
from rolekeeper_cli.target.use import Places

_POLL_SECONDS = 2.0
# Without progress, unless instances wait for the window of changes: it has room again once it has passed.
_PATIENCE_SECONDS = 60
_NAMED, _FEW = 10, 3
type Followable = Sequence[MappingKey] | InstanceKey | None
"""What is followed: the instances with the tags of mappings, one instance, or the fleet."""
_MOVING = {AssociationState.ASSOCIATING, AssociationState.DISASSOCIATING}


@dataclass(frozen=True, slots=True)
class Followed:
    """Instances at one look: how many are `done`, which are still `coming`, and which are `stuck`, and why.

    Stuck ones are blocked, or wait for something that a person has to do, such as start them. `unseen` are sentences
    about targets that the caller can't look into, and `effect` is that of the mapping, if one was waited for.
    """

    done: int = 0
    coming: tuple[InstanceKey, ...] = ()
    stuck: tuple[tuple[str, str], ...] = ()
    unseen: tuple[str, ...] = ()
    effect: Effect = field(default_factory=Effect)
    waves: tuple[str, ...] = ()  # of the rollouts that some wait for

    @property
    def total(self) -> int:
        return self.done + len(self.coming) + len(self.stuck)

    @property
    def missing(self) -> list[str]:
        """The instances that are still coming: a text for each target, and one for further targets."""
        by_target = grouped((each.target, each.id) for each in self.coming)
        texts = [f"{target}: {several(ids, _FEW, 'instance')}" for target, ids in by_target.items()]
        more = len(texts) - _NAMED
        return [*texts[:_NAMED], amount(more, "more target")] if more > 0 else texts

    def view(self, key: MappingKey) -> FollowedView:
        return FollowedView(
            mapping=str(key),
            instances=self.total,
            done=self.done,
            coming=len(self.coming),
            stuck=[StuckView(instance=instance, reason=why) for instance, why in self.stuck],
            unseen=self.unseen,
            not_in_effect=self.effect.views(),
        )


def followed(places: Places, keys: Followable) -> Followed:
    """Look once at the instances with these tags, at one of them, or at all for None."""
    done, coming, stuck, home, effect = 0, [], [], places.all[0].home, Effect()
    waves: dict[str, None] = {}
    rows = Rows(places.all[0]) if isinstance(keys, InstanceKey) else None
    for seen in places.ask(lambda place: decided(place, Enforced.of(place, rows=rows), _instances(place, keys))):
        if isinstance(seen, Unreadable):
            stuck.append((address(seen.key, home), seen.error.message))
            continue
        decision, effect = seen.decision, Effect(missing=seen.effect.edits)
        going = [
            (key, each) for key, each in seen.observed.rollouts.items() if each and not (each.halted or each.is_over)
        ]
        if decision.code == "rollout" and going:
            coming.append(seen.instance.key)
            waves |= {f"wave {each.wave} of {len(each.counts)} of {key}": None for key, each in going}
        elif decision.action is Action.NOTHING and decision.code != "rollout":
            done += 1
        elif decision.action.mutates or decision.polls:
            coming.append(seen.instance.key)
        else:
            title = titled(address(seen.instance.key, home), name_of(seen.instance))
            stuck.append((title, decision.reason))
    unseen = tuple(places.unseen_in_words())
    return Followed(done, tuple(coming), tuple(stuck), unseen=unseen, effect=effect, waves=tuple(waves))


def wait_for_mapping(
    deployment: Deployment, key: MappingKey, every: float, attempts: int, targets: Sequence[str] = ()
) -> Followed:
    """Wait until the instances with a mapping's tag carry what they should; and say what of it isn't in effect.

    CommandError if it was never published, with the exit code of its row.
    """
    effect = _judged(deployment, key)
    if deployment.app.revisions.read(key).published is None:
        require_mapping(deployment, key)
        what = f"no revision of {key} was ever published: {several(effect.missing)}"
        raise CommandError(what, advice("see: ", key.remedy(Kind.MAPPING)), code=exit_code(effect))
    found = follow(deployment, [key], every=every, attempts=attempts, targets=targets)
    # The row may have been judged meanwhile.
    return replace(found, effect=of_mapping(deployment, key))


def _judged(deployment: Deployment, key: MappingKey) -> Effect:
    """What is in effect of a mapping once its row is judged, or isn't for a minute."""
    for left in deployment.looks(_POLL_SECONDS, edits.PATIENCE_SECONDS):
        effect = of_mapping(deployment, key)
        if left.is_over or all(edit.status for edit in effect.edits):
            return effect
    raise AssertionError("a look ends it")


def exit_code(effect: Effect) -> ExitCode:
    """How a command ends that waited for a mapping: as any command about its row."""
    return edits.exit_code(edit.status or "" for edit in effect.edits)


# How long it takes until Rolekeeper has looked at the instances of a mapping that was deleted, unless there are many.
_LOOKED_AT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Keeping:
    """The instances that still carry a role which deleted mappings gave them.

    `why` says for how many of them what; the others are `under_way`.
    """

    under_way: int
    why: Counter[NotInEffect]


def keeping(deployment: Deployment, keys: Sequence[MappingKey]) -> Keeping:
    """Look at the instances of deleted mappings until each gave its role up or shows why not, some seconds at most."""
    places, rows, paused = Places.chosen(deployment), Rows(deployment), withheld(deployment)
    for left in deployment.looks(_POLL_SECONDS, _LOOKED_AT_SECONDS):
        looked = places.ask(lambda place: decided(place, Enforced.of(place, rows=rows), _instances(place, keys)))
        granted = ((each, each.observed.grant) for each in looked if isinstance(each, Seen) and each.carries)
        kept = [seen for seen, grant in granted if grant and grant.mapping in keys]
        why = list(filter(None, (_why_kept(seen, paused) for seen in kept)))
        if left.is_over or len(why) == len(kept):
            return Keeping(len(kept) - len(why), _counted(why))
    raise AssertionError("a look ends it")


def _why_kept(seen: Seen, paused: str) -> NotInEffect | None:
    """Why an instance keeps its role; None if the role goes now."""
    if paused and seen.decision.action.mutates:
        return NotInEffect("paused", paused)
    return next((each for each in seen.effect.missing if not each.mapping and not seen.decision.polls), None)


def _counted(why: Sequence[NotInEffect]) -> Counter[NotInEffect]:
    """Count those with the same reason. Each instance has a turn of its own, so the last one is shown."""
    groups = grouped((replace(each, until=None), each.until) for each in why)
    return Counter(
        {replace(each, until=max(filter(None, turns), default=None)): len(turns) for each, turns in groups.items()}
    )


def until_still(deployment: Deployment) -> None:
    """Wait until EC2 has finished the changes that it began, or WaitTimeoutError if it doesn't."""
    before, places = -1, Places.chosen(deployment)
    with deployment.progress(None, "instances whose role EC2 still changes") as progress:
        for left in deployment.looks(_POLL_SECONDS, _PATIENCE_SECONDS):
            moving = list(places.ask(_moving))
            if not moving:
                return
            progress.at(len(moving))
            if len(moving) != before:
                left.renew()
            elif left.is_over:
                what = f"EC2 still changes the role of {amount(len(moving), 'instance')}, {moving[0]} among them"
                raise WaitTimeoutError(what, f"look at one: rolekeeper explain {moving[0]}")
            before = len(moving)


def follow(
    deployment: Deployment,
    keys: Followable,
    *,
    every: float = _POLL_SECONDS,
    attempts: int | None = None,
    targets: Sequence[str] = (),
) -> Followed:
    """Look until no instance is still coming: this many `attempts`, or else as long as more are done.

    `every`: the seconds between two looks, longer if a look takes longer; `targets`, those that are looked at, all
    without any. CommandError if nothing changes now, or no target could be looked into; WaitTimeoutError if some aren't
    done: `details` say what blocks them.
    """
    chosen = Places.of(deployment, [keys.target]) if isinstance(keys, InstanceKey) else None
    before, places = -1, chosen or Places.chosen(deployment, targets)
    with deployment.progress(None, "instances carry what they should") as progress:
        for number, left in enumerate(deployment.looks(every, _PATIENCE_SECONDS), start=1):
            found = followed(places, keys)
            if len(places.unseen) == len(places.all):
                raise CommandError(f"no instance could be looked at: {found.unseen[0]}", "see: rolekeeper targets")
            rest = f"missing in {'; '.join(found.missing)}" if deployment.settings.organization else ""
            progress.at(found.done, found.total, "; ".join(filter(None, (*found.waves, rest))) if found.coming else "")
            if not found.coming:
                return found
            if why := withheld(deployment):
                what = f"changes wait for {len(found.coming):,} of {amount(found.total, 'instance')}, and none is made"
                raise CommandError(f"{what}: {why}", "see: rolekeeper mode, rolekeeper resume")
            if found.done > before:
                before = found.done
                left.renew()
            if number == attempts or (attempts is None and left.is_over and not _waits_for_room(deployment, found)):
                raise _too_late(deployment, found)
    raise AssertionError("a look ends it")


def _moving(place: Deployment) -> Iterator[str]:
    """The instances of a target whose association EC2 hasn't finished, as a command names them."""
    for page in pages(place):
        shown = place.app.ec2.associations([each.key.id for each in page])
        yield from sorted(addressed(place, id_) for id_, each in shown.items() if each.state in _MOVING)


def _instances(deployment: Deployment, keys: Followable) -> Iterator[list[Instance]]:
    """Pages of the instances with any of these tags, each instance once."""
    if keys is None or isinstance(keys, InstanceKey):
        yield from named(deployment, [keys.id]) if keys else pages(deployment)
        return
    seen: set[InstanceKey] = set()
    for page in chain.from_iterable(pages(deployment, [key]) for key in keys):
        new = [each for each in page if each.key not in seen]
        seen |= {each.key for each in new}
        yield new


def _waits_for_room(deployment: Deployment, found: Followed) -> bool:
    if found.waves:
        return True
    waiting = found.coming[:_NAMED]
    conditions = [each.condition for each in deployment.app.state.read(waiting, []).records.values()]
    return any(each is not None and each.code == "window" for each in conditions)


def _too_late(deployment: Deployment, found: Followed) -> WaitTimeoutError:
    missing = [f"missing in {each}" for each in found.missing] if deployment.settings.organization else []
    lack = "doesn't carry what it" if len(found.coming) == 1 else "don't carry what they"
    what = f"{len(found.coming):,} of {amount(found.total, 'instance')} {lack} should yet"
    return still_waiting(deployment, what, found.coming, details=[*found.waves, *missing])


def still_waiting(
    deployment: Deployment, what: str, keys: Sequence[InstanceKey], details: Sequence[str] = ()
) -> WaitTimeoutError:
    """That instances weren't done in time, with what Rolekeeper has recorded to block the first of them."""
    waiting = keys[:_NAMED]
    records = deployment.app.state.read(waiting, []).records
    names = {key: address(key, deployment.home) for key in waiting}
    blocked = [
        f"{names[key]}: {shown.reason}" for key in waiting if key in records and (shown := records[key].condition)
    ]
    remedy = f"the change stays requested; see what blocks it: rolekeeper explain {names[waiting[0]]}"
    return WaitTimeoutError(what, remedy, [*details, *blocked])
