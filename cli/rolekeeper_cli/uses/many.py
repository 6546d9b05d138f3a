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
from rolekeeper.instances.observe import Observed, Unreadable, observe
from rolekeeper.model.instance import Instance, Target
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.uses import instances, pins, preview
from rolekeeper_cli.uses.fleet import Enforced, Seen, profile_name
from rolekeeper_cli.uses.pins import Release, Wish
from rolekeeper_cli.uses.preview import FleetPlan, Preview
from rolekeeper_cli.uses.targets import why_unseen

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


@dataclass(frozen=True, slots=True)
class Releasing:
    """The end of pins, and why."""

    reason: str = ""


type Act = Wish | Releasing | Tagging


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


@dataclass(frozen=True, slots=True)
class Result:
    """What was done to an instance: nothing, where it says `why`, because it was refused, or not even `tried`."""

    id: str
    why: str = ""
    tried: bool = True


# ---- what it would do ----


def plan(deployment: Deployment, act: Act, chosen: Mapping[str, Target | None], fleet: Counter[Target]) -> Plan:
    """What an act would do to the chosen ones, by id; `fleet` says how many instances each target has.

    Raises:
        CommandError: no target can have it done, as where there is no such role.
    """
    found, refusals = list[Planned](), list[CommandError]()
    sums = FleetPlan(deployment, there=Counter(fleet))
    with deployment.progress(len(chosen), "instances looked at") as progress:
        for target, ids in _by_page(deployment, chosen.items()):
            progress.at(len(found))
            try:
                found += _Place(deployment.at(target), act).planned(ids, sums)
            except (AwsRefusalError, CommandError) as error:
                refusals.append(_reported(error))
                found += (Planned(each, target, why_not=refusals[-1].what) for each in ids)
    if refusals and all(each.why_not == refusals[0].what for each in found):
        raise refusals[0]
    planned = [each for each in found if not each.why_not]
    return Plan(act, planned, [each for each in found if each.why_not], preview=_in_sum(sums))


def _in_sum(sums: FleetPlan) -> Preview:
    pace = sums.paced()
    will = preview.of_several(sums, [f"{preview.pace_in_words(pace)}."] if pace else [])
    if will.impact.detach:
        return replace(will, notes=(*will.notes, preview.outlives(sums.deployment)))
    return will


def _by_page[Known](
    deployment: Deployment, chosen: Iterable[tuple[Known, Target | None]]
) -> Iterator[tuple[Target, tuple[Known, ...]]]:
    """Pages of what is in one target."""
    by_target: dict[Target, list[Known]] = {}
    for each, target in chosen:
        by_target.setdefault(target or deployment.home, []).append(each)
    for target, some in by_target.items():
        for page in batched(some, FILTER_VALUES):
            yield target, page


class _Place:
    """An act in one target.

    Raises:
        CommandError: it can't be done there.
        AwsRefusalError: the caller may not look there.
    """

    def __init__(self, deployment: Deployment, act: Act) -> None:
        self.deployment, self.act, self.pin = deployment, act, None
        match act:
            case Wish():
                profile_arn, _ = pins.usable_profile(deployment, act)
                self.pin = pins.made_of(deployment, act, profile_arn)
            case Tagging(key, value):
                instances.require_tag(key, value or "")
                if deployment.elsewhere:
                    account = deployment.settings.account
                    raise UsageError(f"only the credentials of account {account} can tag it", "nothing was changed")

    def observed(self, ids: Sequence[str], *, then: Mapping[str, Instance] | None = None) -> dict[str, Observed]:
        """Instances as they are, or as they would be with the act done, where they are described so."""
        keys = [instances.key_of(self.deployment, each) for each in ids]
        state = Enforced.of(self.deployment, released=then is not None and isinstance(self.act, Releasing))
        found = observe(keys, self.deployment.app.ec2, state, now=self.deployment.now(), described=then)
        return {key.id: each for key, each in found.items()}

    def planned(self, ids: Sequence[str], sums: FleetPlan) -> list[Planned]:
        """What it would do to a page of them, which the sums count too."""
        target = self.deployment.settings.target
        odd = "there is no such instance"
        found = {each: Planned(each, target, why_not=odd) for each in ids}
        seen = dict[str, Seen]()
        for id_, each in self.observed(list(filter(instances.ID.fullmatch, ids))).items():
            name = instances.name_of(each.instance) if each.instance else ""
            if why_not := self._why_not(each):
                found[id_] = Planned(id_, target, name, why_not=why_not)
            elif not isinstance(each, Unreadable):
                seen[id_] = Seen.of(each, self.deployment)
        for id_, then in self._then(seen).items():
            found[id_] = self._one(seen[id_], then, sums)
        return list(found.values())

    def _one(self, now: Seen, then: Seen | Unreadable, sums: FleetPlan) -> Planned:
        found = Planned(
            now.instance.key.id,
            now.instance.key.target,
            name=instances.name_of(now.instance),
            carries=profile_name(now.carries) or "",
            facts=now.facts,
        )
        if isinstance(then, Unreadable):
            return replace(found, why_not=then.error.message)
        sums.becomes(then)
        return replace(found, will_carry=profile_name(then.should_carry) or "", waits=then.waits)

    def _then(self, seen: Mapping[str, Seen]) -> dict[str, Seen | Unreadable]:
        """The instances as they would be."""
        if self.pin:
            return {id_: preview.as_pinned(self.deployment, each, self.pin) for id_, each in seen.items()}
        described = {id_: each.instance for id_, each in seen.items()}
        if isinstance(self.act, Tagging):
            described = {id_: replace(each, tags=self.act.of(each.tags)) for id_, each in described.items()}
        found = self.observed(list(seen), then=described) if seen else {}
        return {
            id_: each if isinstance(each, Unreadable) else Seen.of(each, self.deployment) for id_, each in found.items()
        }

    def _why_not(self, found: Observed) -> str:
        """Why it can't be done to an instance, or needn't; empty if it can."""
        if found.instance is None:
            return "there is no such instance"
        if found.instance.ended:
            return f"it is {found.instance.state}"
        if isinstance(found, Unreadable):
            return found.error.message
        seen = Seen.of(found, self.deployment)
        if seen.decision.code == "service-managed":
            return "an AWS service manages it"
        match self.act:
            case Wish():
                return self._why_unpinned(seen)
            case Releasing():
                return "" if seen.pin or _contested(seen) else "it has no pin"
            case Tagging(key, value):
                had = "it doesn't have the tag" if value is None else "it has the tag with this value already"
                return had if seen.instance.tags.get(key) == value else ""

    def _why_unpinned(self, seen: Seen) -> str:
        assert self.pin
        if seen.pin and (seen.pin.role, seen.pin.expires_at) == (self.pin.role, self.pin.expires_at):
            return f"it is pinned to {self.pin.role} already"
        try:
            pins.refuse_foreign(self.deployment, seen.instance, seen.observed.association)
        except CommandError:
            return f"it carries the foreign role {profile_name(seen.carries)}, which Rolekeeper may not take away"
        return ""

    # ---- doing it ----

    def write(self, seen: Sequence[Seen]) -> None:
        """Do it to all of them.

        Raises:
            AwsRefusalError, CommandError: it is refused; to one of them alone it may not be.
        """
        ids = [each.instance.key.id for each in seen]
        match self.act:
            case Tagging(key, None):
                instances.remove_tag(self.deployment, ids, key)
            case Tagging(key, str(value)):
                instances.set_tag(self.deployment, ids, key, value=value)
            case Releasing(reason):
                for each in seen:
                    found = Release(each.instance, each.pin, contested=_contested(each))
                    pins.release(self.deployment, found, reason)
            case _:
                assert self.pin
                for each in seen:
                    pins.put(self.deployment, each.instance.key, self.pin, former=each.observed.pin)


def _contested(seen: Seen) -> bool:
    return seen.decision.code == "contested"


def _reported(error: AwsRefusalError | CommandError) -> CommandError:
    return error if isinstance(error, CommandError) else why_unseen(error)


# ---- doing it ----


def carry_out(
    deployment: Deployment, act: Act, planned: Sequence[Planned], *, turn: AbstractContextManager[object]
) -> Iterator[Result]:
    """Do it to each that is still as it was planned. What one of them is refused hinders no other.

    A page of them is looked at and done in one `turn`.
    """
    writing = _Writing()
    with deployment.progress(len(planned), "instances done") as progress:
        done = 0
        for target, page in _by_page(deployment, ((each, each.target) for each in planned)):
            with turn:
                for result in _done(deployment.at(target), act, page, writing):
                    yield result
                    done += 1
                    progress.at(done)


def _done(deployment: Deployment, act: Act, page: Sequence[Planned], writing: "_Writing") -> Iterator[Result]:
    """The result of each on a page."""
    try:
        place = _Place(deployment, act)
        now = place.observed([each.id for each in page])
    except (AwsRefusalError, CommandError) as error:
        yield from (Result(each.id, _reported(error).what, tried=False) for each in page)
        return
    seen = {
        id_: Seen.of(each, deployment)
        for id_, each in now.items()
        if each.instance and not isinstance(each, Unreadable)
    }
    same = [seen[each.id] for each in page if each.id in seen and seen[each.id].facts == each.facts]
    moved = {each.id for each in page} - {each.instance.key.id for each in same}
    yield from (Result(each, "it isn't as it was when this was planned") for each in sorted(moved))
    # A tag is written to all of them at once, a pin to one.
    for some in [same] if isinstance(act, Tagging) and same else [[each] for each in same]:
        yield from writing.results(some, place.write)


class _Writing:
    """The writes of a plan, while they aren't all refused."""

    def __init__(self) -> None:
        self._refused, self._why = 0, ""

    def results(self, some: Sequence[Seen], write: Callable[[Sequence[Seen]], None]) -> Iterator[Result]:
        """Write to some at once; where that is refused, to each half, so that only those are left which AWS refuses."""
        ids = [each.instance.key.id for each in some]
        if self._refused == MOST_REFUSED:
            yield from (Result(each, self._why, tried=False) for each in ids)
            return
        try:
            write(some)
        except (AwsRefusalError, CommandError) as error:
            if len(some) > 1:
                half = len(some) // 2
                yield from self.results(some[:half], write)
                yield from self.results(some[half:], write)
                return
            self._refused += isinstance(error, AwsRefusalError)
            self._why = _reported(error).what
            yield Result(ids[0], self._why)
        else:
            self._refused = 0
            yield from map(Result, ids)
