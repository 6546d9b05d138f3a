"""One act on many instances: what it would do to each of them, and doing it, one after the other.

EC2 and the state table are read by pages, and a tag is written to a page of instances by one call.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import batched

from rolekeeper.aws.ec2 import FILTER_VALUES
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.observe import Unreadable, observe
from rolekeeper.model.instance import Instance, Target
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.explained import why_unseen
from rolekeeper_cli.uses import instances, pins, preview
from rolekeeper_cli.uses.fleet import Enforced, Seen, profile_name
from rolekeeper_cli.uses.pins import Release, Wish
from rolekeeper_cli.uses.preview import FleetPlan, Preview

RELEASE = "release"
# After this many refusals in a row, AWS isn't asked for the others: they lack the same permission.
MOST_REFUSED = 5


@dataclass(frozen=True, slots=True)
class Tagging:
    """A tag to set, or to remove where `value` is None."""

    key: str
    value: str | None

    def of(self, tags: Mapping[str, str]) -> dict[str, str]:
        """An instance's tags afterwards."""
        others = {key: value for key, value in tags.items() if key != self.key}
        return others if self.value is None else others | {self.key: self.value}


type Act = Wish | Tagging
"""A pin, its end (the verb `RELEASE`), or a tag."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An instance, and the roles that it carries and would carry; empty for none.

    `waits` says why it doesn't change at once, `why_not` why it is left out. The plan rests on the `facts`.
    """

    id: str
    target: Target
    name: str = ""
    carries: str = ""
    will_carry: str = ""
    waits: str = ""
    why_not: str = ""
    facts: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What an act would do to those that can take part, in sum too; the others are `left_out`."""

    act: Act
    planned: Sequence[Planned]
    left_out: Sequence[Planned]
    preview: Preview


def plan(deployment: Deployment, act: Act, chosen: Mapping[str, Target | None], *, fleet: Counter[Target]) -> Plan:
    """What an act would do to the chosen ones, by id; `fleet` says how many instances each target has.

    CommandError if no target can have it done, as where there is no such role.
    """
    found, refusals = list[Planned](), list[CommandError]()
    sums = FleetPlan(deployment, there=Counter(fleet))
    with deployment.progress(len(chosen), "instances looked at") as progress:
        for target, ids in _by_page((id_, there or deployment.home) for id_, there in chosen.items()):
            progress.at(len(found))
            try:
                found += _Place(deployment.at(target), act).planned(ids, sums)
            except (AwsRefusalError, CommandError) as error:
                refusals.append(_reported(error))
                found += (Planned(each, target, why_not=refusals[-1].what) for each in ids)
    if refusals and all(each.why_not == refusals[0].what for each in found):
        raise refusals[0]
    pace = sums.paced()
    will = preview.of_several(sums, [f"{preview.pace_in_words(pace)}."] if pace else [])
    if will.impact.detach:
        will = replace(will, notes=(*will.notes, preview.outlives(deployment)))
    taking_part = [each for each in found if not each.why_not]
    return Plan(act, taking_part, [each for each in found if each.why_not], preview=will)


def _by_page[Known](known: Iterable[tuple[Known, Target]]) -> Iterator[tuple[Target, tuple[Known, ...]]]:
    """Pages of what is in one target."""
    by_target: dict[Target, list[Known]] = {}
    for each, target in known:
        by_target.setdefault(target, []).append(each)
    return ((target, page) for target, some in by_target.items() for page in batched(some, FILTER_VALUES))


def _reported(error: AwsRefusalError | CommandError) -> CommandError:
    return error if isinstance(error, CommandError) else why_unseen(error)


# What no act of a person changes.
_BEYOND = frozenset({"service-managed", "ended"})


class _Place:
    """An act in one target; CommandError if it can't be done there."""

    def __init__(self, deployment: Deployment, act: Act) -> None:
        self.deployment, self.act, self.pin = deployment, act, None
        if isinstance(act, Tagging):
            instances.require_here(deployment, "tags", done="set")
            instances.require_tag(act.key, act.value or "")
        elif act.verb != RELEASE:
            self.pin = pins.made_of(deployment, act, pins.usable_profile(deployment, act)[0])

    def seen(self, ids: Iterable[str], then: Mapping[str, Instance] | None = None) -> dict[str, Seen | str]:
        """Those that EC2 knows, or why one can't be read; as they would be with the act done, where described so."""
        keys = [instances.key_of(self.deployment, each) for each in ids if instances.ID.fullmatch(each)]
        releases = then is not None and isinstance(self.act, Wish)
        state = Enforced.of(self.deployment, released=releases)
        found = observe(keys, self.deployment.app.ec2, state, now=self.deployment.now(), described=then)
        return {
            key.id: each.error.message if isinstance(each, Unreadable) else Seen.of(each, self.deployment)
            for key, each in found.items()
            if each.instance
        }

    def _then(self, seen: Mapping[str, Seen]) -> Mapping[str, Seen | str]:
        if self.pin:
            return {id_: preview.as_pinned(self.deployment, each, self.pin) for id_, each in seen.items()}
        tags = self.act.of if isinstance(self.act, Tagging) else dict
        then = {id_: replace(each.instance, tags=tags(each.instance.tags)) for id_, each in seen.items()}
        return self.seen(seen, then)

    def planned(self, ids: Sequence[str], sums: FleetPlan) -> Iterator[Planned]:
        """What it would do to a page of them, which the sums count too."""
        now = self.seen(ids)
        then = self._then({id_: each for id_, each in now.items() if isinstance(each, Seen)})
        for id_ in ids:
            one, was = Planned(id_, self.deployment.settings.target), now.get(id_, "there is no such instance")
            if isinstance(was, str):
                yield replace(one, why_not=was)
                continue
            name, carries, will = instances.name_of(was.instance), profile_name(was.carries) or "", then[id_]
            one = replace(one, name=name, carries=carries, facts=was.facts)
            if isinstance(will, str) or (why_not := self._why_not(was, will)):
                yield replace(one, why_not=will if isinstance(will, str) else why_not)
                continue
            sums.becomes(will)
            yield replace(one, will_carry=profile_name(will.should_carry) or "", waits=will.waits)

    def _why_not(self, now: Seen, then: Seen) -> str:
        """Why it can't be done to an instance, or needn't; empty if it can."""
        if then.decision.code in _BEYOND:
            return then.decision.reason
        if isinstance(self.act, Tagging):
            same = now.instance.tags.get(self.act.key) == self.act.value
            return "its tags are so already" if same else ""
        if not self.pin:
            return "" if now.pin or _contested(now) else "it has no pin"
        if then.decision.code == "occupied":
            return f"it carries the foreign role {profile_name(now.carries)}, which Rolekeeper may not take away"
        same = now.pin is not None and (now.pin.role, now.pin.expires_at) == (self.pin.role, self.pin.expires_at)
        return "its pin is so already" if same else ""

    def write(self, seen: Sequence[Seen]) -> None:
        """Do it to all of them.

        AwsRefusalError or CommandError if it is refused; to one of them alone it may not be.
        """
        ids = [each.instance.key.id for each in seen]
        match self.act:
            case Tagging(key, None):
                instances.remove_tag(self.deployment, ids, key)
            case Tagging(key, str(value)):
                instances.set_tag(self.deployment, ids, key, value=value)
            case Wish(reason=reason):
                for each in seen:
                    if self.pin:
                        pins.put(self.deployment, each.instance.key, self.pin, former=each.observed.pin)
                    else:
                        ended = Release(each.instance, each.pin, contested=_contested(each))
                        pins.release(self.deployment, ended, reason)


def _contested(seen: Seen) -> bool:
    return seen.decision.code == "contested"


@dataclass(frozen=True, slots=True)
class Result:
    """What was done to an instance: nothing, where it says `why`, because it was refused, or not even `tried`."""

    id: str
    why: str = ""
    tried: bool = True

    @property
    def word(self) -> str:
        return "done" if not self.why else "refused" if self.tried else "not tried"


def carry_out(
    deployment: Deployment, act: Act, planned: Sequence[Planned], *, turn: AbstractContextManager[object]
) -> Iterator[Result]:
    """Do it to each that is still as it was planned. What one of them is refused hinders no other.

    A page of them is looked at and done in one `turn`.
    """
    writing, done = _Writing(), 0
    with deployment.progress(len(planned), "instances done") as progress:
        for target, page in _by_page((each, each.target) for each in planned):
            with turn:
                for result in _done(deployment.at(target), act, page, writing=writing):
                    yield result
                    done += 1
                    progress.at(done)


def _done(deployment: Deployment, act: Act, page: Sequence[Planned], *, writing: "_Writing") -> Iterator[Result]:
    try:
        place = _Place(deployment, act)
        seen = place.seen([each.id for each in page])
    except (AwsRefusalError, CommandError) as error:
        yield from (Result(each.id, _reported(error).what, tried=False) for each in page)
        return
    same = list[Seen]()
    for each in page:
        if isinstance(now := seen.get(each.id), Seen) and now.facts == each.facts:
            same.append(now)
        else:
            yield Result(each.id, "it isn't as it was when this was planned")
    # A tag is written to all of them at once, a pin to one.
    for some in batched(same, len(page) if isinstance(act, Tagging) else 1):
        yield from writing.results(some, place.write)


class _Writing:
    """The writes of a plan, while they aren't all refused."""

    def __init__(self) -> None:
        self._refused, self._why = 0, ""

    def results(self, some: Sequence[Seen], write: Callable[[Sequence[Seen]], None]) -> Iterator[Result]:
        """Write to some at once; where that is refused, to each half, so that only those are left which AWS refuses."""
        if self._refused == MOST_REFUSED:
            yield from (Result(each.instance.key.id, self._why, tried=False) for each in some)
            return
        try:
            write(some)
        except (AwsRefusalError, CommandError) as error:
            if half := len(some) // 2:
                yield from self.results(some[:half], write)
                yield from self.results(some[half:], write)
                return
            self._refused += isinstance(error, AwsRefusalError)
            self._why = _reported(error).what
            yield Result(some[0].instance.key.id, self._why)
        else:
            self._refused = 0
            yield from (Result(each.instance.key.id) for each in some)
