"""What a person does to instances: one plan for one of them and for a thousand, and doing it.

EC2 and the state table are read by pages, and a tag is written to a page of instances by one call.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import batched

from rolekeeper.aws.ec2 import FILTER_VALUES
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import resolve
from rolekeeper.instances.nodes import advice_for, node_of
from rolekeeper.instances.observe import Unreadable, observe
from rolekeeper.mappings.rows import COLUMNS, CellError
from rolekeeper.model.instance import Instance, InstanceState, RecordChange, Target
from rolekeeper.model.mapping import NO_ROLE, MappingKey, MappingSpec
from rolekeeper.model.mapping import Pin as StoredPin
from rolekeeper.model.problem import Advice, Kind, Remedy, advice
from rolekeeper.permissions.comparison import PolicyReader
from rolekeeper.permissions.roles import Roles
from rolekeeper.storage import layout
from rolekeeper_cli.act import pins
from rolekeeper_cli.act.view import PinnedView, ReleasedView
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import why_unseen
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.instance import use as instances
from rolekeeper_cli.instance.seen import Enforced, Seen, profile_name
from rolekeeper_cli.mapping import preview
from rolekeeper_cli.mapping.preview import FleetPlan, Preview
from rolekeeper_cli.row import names
from rolekeeper_cli.shell.layout import grouped, second

_UNTOUCHED = "nothing was changed"

# ---- the acts ----


@dataclass(frozen=True, slots=True)
class Pin:
    """Pin to a role, or to none (`NO_ROLE`).

    `verb` is the command that does the same. `attach` expects no role on the instance, and `replace` one.
    """

    role: str
    instance_profile: str = ""
    length: timedelta | None = None  # None: until it is released
    reason: str = ""
    allow_broad: bool = False
    verb: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """End a pin, and have Rolekeeper try again where another actor kept reverting its change."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tag:
    """Set a tag, in the place of one with this key."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Untag:
    """Remove a tag."""

    key: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start what is stopped."""


type Act = Pin | Release | Tag | Untag | Start


def title(act: Act, whom: str) -> str:
    """Name an act: `Pin web-1 to db`."""
    match act:
        case Pin(role):
            return f"Pin {whom} to {role_in_words(role)}"
        case Release():
            return f"Release {whom}"
        case Tag(key, value):
            return f"Set tag {key}={value} on {whom}"
        case Untag(key):
            return f"Remove tag {key} from {whom}"
        case Start():
            return f"Start {whom}"


def role_in_words(role: str) -> str:
    """Name the role of a pin, which a person may have written by hand."""
    return "no role" if role == NO_ROLE else role or "something unclear"


def _pin_in_words(pin: StoredPin) -> str:
    return f"{role_in_words(pin.role)}{_until(pin)}"


def _until(pin: StoredPin | None) -> str:
    return f" until {second(pin.expires_at)}" if pin and pin.expires_at else ""


# ---- what it would do ----


class RefusalError(CommandError):
    """Why an act isn't done to an instance: `what` begins with its name, and the `predicate` is the rest."""

    def __init__(self, instance: Instance, predicate: str, remedy: str | Advice) -> None:
        super().__init__(f"{instances.title(instance)} {predicate}", remedy)
        self.predicate = predicate


class NoPinError(RefusalError):
    """There is nothing to release, which is no failure of a command that is run twice."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An instance that can't take part, or needn't."""

    id: str
    error: CommandError
    name: str = ""

    @property
    def why(self) -> str:
        """The reason, which many instances may share."""
        return f"it {self.error.predicate}" if isinstance(self.error, RefusalError) else self.error.what


@dataclass(frozen=True, slots=True)
class Planned:
    """An instance that can take part, as it is and as it would be."""

    place: "Place"
    now: Seen
    then: Seen

    @property
    def id(self) -> str:
        return self.now.instance.key.id

    @property
    def title(self) -> str:
        return instances.title(self.now.instance)

    @property
    def carries(self) -> str:
        """The profile that it carries, by name; empty for none."""
        return profile_name(self.now.carries) or ""

    def view(self) -> PinnedView | ReleasedView:
        """What a pin or a release did."""
        where, pin, former = instances.where(self.now.instance.key), self.place.pin, self.now.pin
        if pin is None:
            released = former.role if former else None
            return ReleasedView(**where, released=released, contested=_contested(self.now))
        return PinnedView(
            **where, role=pin.role, profile_arn=pin.profile_arn, expires_at=pin.expires_at, by=pin.by, reason=pin.reason
        )

    @property
    def outcome(self) -> str:
        """What is so once it is done, without a full stop."""
        match self.place.act:
            case Pin(role):
                former = f", no longer to {_pin_in_words(self.now.pin)}" if self.now.pin else ""
                return f"{self.title} is pinned to {role_in_words(role)}{_until(self.place.pin)}{former}"
            case Release() if pin := self.now.pin:
                role = pin.role if pin.role not in {"", NO_ROLE} else "its pin"
                return f"{self.title} is released from {role} and goes back to its tags"
            case Release():
                return f"{self.title} has no pin; Rolekeeper tries again what another actor kept reverting"
            case Tag(key, value):
                return f"Tag {key}={value} is set on {self.title}"
            case Untag(key):
                return f"Tag {key} is removed from {self.title}"
            case Start():
                return f"{self.title} is started"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an act would do to those that can take part, in sum too; the others are `left_out`.

    The `warnings` are for those too who don't ask what it would do.
    """

    act: Act
    planned: Sequence[Planned]
    left_out: Sequence[LeftOut]
    warnings: Sequence[str | Advice] = ()
    preview: Preview = field(default_factory=Preview)


def plan(
    deployment: Deployment,
    act: Act,
    chosen: Mapping[str, Target | None],
    *,
    fleet: Counter[Target] | None = None,
    foresee: bool = True,
) -> Plan:
    """Plan an act on the chosen instances, by id; `fleet` says how many each target has, if that is known.

    Unless it is to `foresee` that, what it would do isn't asked. CommandError if all are left out for one reason, for
    example because there is no such role, or because it is one instance.
    """
    found: list[Planned | LeftOut] = []
    with deployment.progress(len(chosen), "instances looked at") as progress:
        for target, ids in _by_page((id_, known or deployment.home) for id_, known in chosen.items()):
            progress.at(len(found))
            try:
                found += Place(deployment.at(target), act).planned(ids)
            except (AwsRefusalError, CommandError) as error:
                found += (LeftOut(id_, _reported(error)) for id_ in ids)
    planned = [one for one in found if isinstance(one, Planned)]
    left_out = [one for one in found if isinstance(one, LeftOut)]
    if not planned and len({left.error.what for left in left_out}) == 1:
        raise left_out[0].error
    foreseen = _foreseen(deployment, planned, fleet) if foresee else Preview()
    return Plan(act, planned, left_out, warnings=list(_warnings(deployment, planned)), preview=foreseen)


def _by_page[Known](known: Iterable[tuple[Known, Target]]) -> Iterator[tuple[Target, tuple[Known, ...]]]:
    """Pages of what is in one target."""
    by_target = grouped((target, one) for one, target in known).items()
    return ((target, page) for target, some in by_target for page in batched(some, FILTER_VALUES))


def _reported(error: AwsRefusalError | CommandError) -> CommandError:
    return error if isinstance(error, CommandError) else why_unseen(error)


def _contested(seen: Seen) -> bool:
    return seen.decision.code == "contested"


def _foreseen(deployment: Deployment, planned: Sequence[Planned], fleet: Counter[Target] | None) -> Preview:
    """What it would do in sum. Only of a known fleet it is known how many may change at once."""
    sums = FleetPlan(deployment, there=Counter(fleet or ()), narrowed=fleet is None)
    for one in planned:
        sums.becomes(one.then)
    notes = [*_notes(planned)]
    if pace := sums.paced():
        notes.append(f"{preview.pace_in_words(pace)}.")
    return preview.of_several(sums, notes)


def _notes(planned: Sequence[Planned]) -> Iterator[str]:
    """What to know beforehand; of a lone instance also what a list of many has in its columns."""
    if not planned:
        return
    one, place = planned[0], planned[0].place
    match place.act:
        case Pin():
            yield f"The pin lasts{_until(place.pin) or ' until it is released'}."
        case Tag(key, value):
            # EC2 keeps them.
            if blanks := [f"'{text}'" for text in (key, value) if text != text.strip()]:
                yield f"The blanks at the ends of {' and '.join(blanks)} are part of the tag."
        case Start():
            yield "What it runs, and what it costs, begin with its start."
    if len(planned) > 1:
        return
    if one.now.pin and isinstance(place.act, Pin | Release):
        yield f"Its pin to {_pin_in_words(one.now.pin)} ends."
    now, then = (profile_name(seen.should_carry) or "no role" for seen in (one.now, one.then))
    yield f"It should carry {now} now, and {then} then."
    if one.now.carries and not one.now.managed:
        yield f"It carries the foreign {one.now.carries}, which Rolekeeper can't put back."
    if one.then.waits:
        yield f"It doesn't change at once: {one.then.waits}."


def _warnings(deployment: Deployment, planned: Sequence[Planned]) -> Iterator[str | Advice]:
    yield from dict.fromkeys(one.place.warning for one in planned if one.place.warning)
    if any(one.now.carries and one.now.carries != one.then.should_carry for one in planned):
        one = planned[0]
        named = instances.addressed(one.place.deployment, one.id) if len(planned) == 1 else "INSTANCE"
        yield preview.outlives(deployment, named)


# ---- in one target ----

# How far the clock that ends a pin may be ahead of the functions': AWS refuses requests of one that is off by more.
_SKEW = timedelta(minutes=5)
# EC2 user guide, "Tag restrictions": in Unicode characters.
KEY_LENGTH, VALUE_LENGTH = 128, 256
_RESERVED = "aws:"

type _Look = Seen | CommandError | None


class Place:
    """An act in one target; CommandError if it can't be done there."""

    def __init__(self, deployment: Deployment, act: Act) -> None:
        self.deployment, self.act = deployment, act
        self.pin: StoredPin | None = None
        self.warning = ""
        if isinstance(act, Pin):
            self.pin, self.warning = _checked(deployment, act)
        elif deployment.elsewhere and not isinstance(act, Release):
            account = deployment.settings.account
            raise UsageError(f"only account {account}'s own credentials can tag and start its instances", _UNTOUCHED)
        elif isinstance(act, Tag | Untag):
            _require_tag(act.key, act.value if isinstance(act, Tag) else "")

    def seen(
        self, ids: Iterable[str], described: Mapping[str, Instance] | None = None
    ) -> dict[str, Seen | CommandError]:
        """Those that EC2 knows, or why one can't be read; as they would be once they are as `described`."""
        keys = [instances.key_of(self.deployment, id_) for id_ in ids if instances.ID.fullmatch(id_)]
        state = Enforced.of(self.deployment, released=described is not None and isinstance(self.act, Release))
        found = observe(keys, self.deployment.app.ec2, state, now=self.deployment.now(), described=described)
        return {
            key.id: _reported(one.error) if isinstance(one, Unreadable) else Seen.of(one, self.deployment)
            for key, one in found.items()
            if one.instance
        }

    def planned(self, ids: Sequence[str]) -> list[Planned | LeftOut]:
        """Plan it for a page of instances."""
        now = self.seen(ids)
        then = self._then({id_: one for id_, one in now.items() if isinstance(one, Seen)})
        return [self._planned(id_, now.get(id_), then=then.get(id_)) for id_ in ids]

    def _then(self, seen: Mapping[str, Seen]) -> Mapping[str, Seen | CommandError]:
        if self.pin:
            return {id_: _pinned(self.deployment, one, self.pin) for id_, one in seen.items()}
        return self.seen(seen, {id_: self._changed(one.instance) for id_, one in seen.items()})

    def _changed(self, instance: Instance) -> Instance:
        """An instance as the act leaves it; a release changes nothing that EC2 shows."""
        match self.act:
            case Tag(key, value):
                return replace(instance, tags={**instance.tags, key: value})
            case Untag(key):
                return replace(instance, tags={name: text for name, text in instance.tags.items() if name != key})
            case Start():
                return replace(instance, state=InstanceState.RUNNING)
        return instance

    def _planned(self, id_: str, now: _Look, *, then: _Look) -> Planned | LeftOut:
        match now, then:
            case Seen(instance) as seen, Seen() as changed:
                refused = self._refused(seen)
                return LeftOut(id_, refused, instances.name_of(instance)) if refused else Planned(self, seen, changed)
            case (CommandError() as error, _) | (_, CommandError() as error):
                return LeftOut(id_, error)
        return LeftOut(id_, CommandError("there is no such instance", "it is gone, or in another Region"))

    def _refused(self, now: Seen) -> RefusalError | None:
        """Why it can't be done to an instance, or needn't; None if it can."""
        instance, tags = now.instance, now.instance.tags
        if instance.ended:
            return RefusalError(instance, f"is {instance.state}", "name an instance that isn't ending")
        match self.act:
            case Tag(key, value) if tags.get(key) == value:
                return RefusalError(instance, f"has the tag {key} with this value already", _UNTOUCHED)
            case Untag(key) if key not in tags:
                return RefusalError(instance, f"has no tag {key}", _UNTOUCHED)
            case Release() if not (now.pin or _contested(now)):
                return NoPinError(instance, "has no pin", "its tags rule")
            case Start() if instance.state is not InstanceState.STOPPED:
                return RefusalError(instance, f"is {instance.state}", "only a stopped instance can be started")
            case Pin() if instance.managed_by:
                return RefusalError(instance, f"is managed by {instance.managed_by}, and its role with it", _UNTOUCHED)
            case Pin() as pin:
                return _unexpected(self.deployment, now, pin) or _foreign(self.deployment, now)
        return None

    def write(self, seen: Sequence[Seen]) -> None:
        """Do it to all of them.

        AwsRefusalError or CommandError if it is refused; to one of them alone it may not be.
        """
        ids, arn = [one.instance.key.id for one in seen], seen[0].instance.key.arn
        match self.act:
            case Tag(key, value):
                tags = [{"Key": key, "Value": value}]
                self.deployment.ask("ec2:CreateTags", arn, Resources=ids, Tags=tags)
            case Untag(key):
                self.deployment.ask("ec2:DeleteTags", arn, Resources=ids, Tags=[{"Key": key}])
            case Start():
                self.deployment.ask("ec2:StartInstances", arn, InstanceIds=ids)
            case Pin() | Release() as act:
                for one in seen:
                    if self.pin:
                        pins.put(self.deployment, one.instance.key, self.pin, former=one.observed.pin)
                    else:
                        _release(self.deployment, one, act.reason)


def _pinned(deployment: Deployment, seen: Seen, pin: StoredPin) -> Seen:
    candidates = resolve(seen.instance, seen.observed.published, seen.observed.asked_at, pin=pin)
    return Seen.of(replace(seen.observed, pin=pin, candidates=candidates), deployment)


def _checked(deployment: Deployment, act: Pin) -> tuple[StoredPin, str]:
    """The pin that an act writes now, and a note about its role. CommandError if that role can't be given."""
    if act.role == NO_ROLE and act.verb in {"attach", "replace"}:
        raise UsageError(f"{NO_ROLE} is no role", "to let an instance carry none: rolekeeper detach")
    arn, note = _usable_profile(deployment, act) if act.role != NO_ROLE else ("", "")
    now = deployment.now()
    pin = StoredPin(
        role=act.role,
        profile_arn=arn,
        expires_at=now + act.length if act.length else None,
        at=layout.timestamp(now),
        by=deployment.caller.arn,
        reason=act.reason,
        allow_broad=act.allow_broad,
    )
    return pin, f"Role '{act.role}': {note.removesuffix('.')}." if note else ""


def _usable_profile(deployment: Deployment, act: Pin) -> tuple[str, str]:
    """The ARN of the profile to attach, and a note about its role, which may be empty."""
    texts = {"role": act.role, "instance_profile": act.instance_profile}
    for column in COLUMNS:
        if text := texts.get(column.name):
            try:
                column.kind.read({"S": text}, deployment.app.home)
            except CellError as error:
                raise UsageError(f"{column.name}: {error}", _UNTOUCHED) from error
    # The command creates nothing in IAM: the profile has to exist.
    settings = replace(deployment.settings, create_missing_profiles=False)
    spec = MappingSpec(MappingKey("", ""), act.role, act.instance_profile, allow_broad=act.allow_broad)
    check = Roles(PolicyReader(deployment.app.iam), settings).check(spec)
    if check.problem:
        meant = names.nearest_role(act.role, names.path_roles(deployment))
        remedy = f"did you mean {meant}?" if meant else check.problem.remedy or _UNTOUCHED
        raise CommandError(str(replace(check.problem, remedy="")), remedy)
    return check.profile_arn, check.note


def _unexpected(deployment: Deployment, now: Seen, act: Pin) -> RefusalError | None:
    """As the AWS console does: a person who attaches a role doesn't expect to take one away."""
    node, carried = node_of(now.instance, now.carries), profile_name(now.carries)
    meant = instances.addressed(deployment, now.instance.key.id), act.role
    if act.verb == "attach" and carried:
        same = carried == (act.instance_profile or act.role)
        why = "to have it kept whatever its tags say: " if same else "to take that away: "
        remedy = advice_for(node) if node else advice(why, Remedy(Kind.REPLACE, meant))
        return RefusalError(now.instance, f"carries {carried} already", remedy)
    if act.verb == "replace" and not carried:
        remedy = advice_for(node) if node else advice("to give it one: ", Remedy(Kind.ATTACH, meant))
        return RefusalError(now.instance, "carries no role", remedy)
    return None


def _foreign(deployment: Deployment, now: Seen) -> RefusalError | None:
    """IAM lets Rolekeeper take away only profiles under the role path, unless the deployment has TakeOver."""
    shown = now.observed.association
    if shown is None or now.managed or deployment.settings.ownership.take_over:
        return None
    node, options = node_of(now.instance, shown.profile_arn), instances.account_options(deployment)
    detach = f"aws ec2 disassociate-iam-instance-profile --association-id {shown.id}{options}"
    by_hand = f"detach it by hand ({detach}), or deploy with TakeOver=true"
    what = f"carries the foreign {shown.profile_arn}, which Rolekeeper may not take away"
    return RefusalError(now.instance, what, advice_for(node) if node else by_hand)


def _require_tag(key: str, value: str) -> None:
    """Raise UsageError for a tag that EC2 doesn't accept."""
    if not key.strip():
        raise UsageError("a tag's key can't be empty", _UNTOUCHED)
    if len(key) > KEY_LENGTH:
        raise UsageError(f"a tag's key has at most {KEY_LENGTH} characters, not {len(key):,}", _UNTOUCHED)
    if key.lower().startswith(_RESERVED):
        raise UsageError(f"tags whose key begins with {_RESERVED} are AWS's own", _UNTOUCHED)
    if len(value) > VALUE_LENGTH:
        raise UsageError(f"a tag's value has at most {VALUE_LENGTH} characters, not {len(value):,}", _UNTOUCHED)


def _release(deployment: Deployment, seen: Seen, reason: str) -> None:
    """End an instance's pin, and forget that another actor kept reverting our change to it."""
    key, now, by = seen.instance.key, deployment.now(), deployment.caller.arn
    if changes := seen.observed.record.changes:
        deployment.app.state.save(key, RecordChange(lapsed=changes), now)
    if pin := seen.pin:
        # One that can't be read is over too then.
        ended = replace(pin, role=pin.role or NO_ROLE, expires_at=now - _SKEW, by=by, reason=reason, unclear="")
        pins.put(deployment, key, ended, former=pin)
    elif _contested(seen):
        # A pin that is written triggers a reconcile; this doesn't.
        deployment.app.queue.send([key], f"released by {by}{reason and f': {reason}'}", str(uuid.uuid4()))


# ---- doing it ----

# After this many refusals in a row, AWS isn't asked for the others: they lack the same permission.
MOST_REFUSED = 5


@dataclass(frozen=True, slots=True)
class Result:
    """What was done to an instance: nothing if there is an `error`, because it was refused, or not even `tried`."""

    id: str
    error: AwsRefusalError | CommandError | None = None
    tried: bool = True

    @property
    def why(self) -> str:
        return _reported(self.error).what if self.error else ""

    @property
    def word(self) -> str:
        return "done" if not self.error else "refused" if self.tried else "not tried"


def carry_out(
    deployment: Deployment, planned: Sequence[Planned], turn: AbstractContextManager[object]
) -> Iterator[Result]:
    """Do it to each that is still as it was planned. What one of them is refused hinders no other.

    A page of them is looked at and done in one `turn`.
    """
    writing, done = _Writing(), 0
    with deployment.progress(len(planned), "instances done") as progress:
        for target, page in _by_page((one, one.now.instance.key.target) for one in planned):
            with turn:
                for result in _done(deployment.at(target), page, writing=writing):
                    yield result
                    done += 1
                    progress.at(done)


def _done(deployment: Deployment, page: Sequence[Planned], *, writing: "_Writing") -> Iterator[Result]:
    act = page[0].place.act
    try:
        place = Place(deployment, act)
        seen = place.seen([one.id for one in page])
    except (AwsRefusalError, CommandError) as error:
        yield from (Result(one.id, error, tried=False) for one in page)
        return
    same: list[Seen] = []
    for one in page:
        if isinstance(now := seen.get(one.id), Seen) and now.facts == one.now.facts:
            same.append(now)
        else:
            yield Result(
                one.id, UsageError("it isn't as it was when this was planned", f"{_UNTOUCHED}; look at it again")
            )
    # EC2 takes a page at once, the state table one pin.
    for some in batched(same, 1 if isinstance(act, Pin | Release) else len(page)):
        yield from writing.results(some, place.write)


class _Writing:
    """The writes of a plan, while they aren't all refused."""

    def __init__(self) -> None:
        self._refused = 0
        self._error: AwsRefusalError | CommandError | None = None

    def results(self, some: Sequence[Seen], write: Callable[[Sequence[Seen]], None]) -> Iterator[Result]:
        """Write to some at once; where that is refused, to each half, so that only those are left which AWS refuses."""
        if self._refused == MOST_REFUSED:
            yield from (Result(one.instance.key.id, self._error, tried=False) for one in some)
            return
        try:
            write(some)
        except (AwsRefusalError, CommandError) as error:
            if half := len(some) // 2:
                yield from self.results(some[:half], write)
                yield from self.results(some[half:], write)
                return
            self._refused += isinstance(error, AwsRefusalError)
            self._error = error
            yield Result(some[0].instance.key.id, error)
        else:
            self._refused = 0
            yield from (Result(one.instance.key.id) for one in some)
