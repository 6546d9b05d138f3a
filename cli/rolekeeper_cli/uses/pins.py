"""Pinning an instance to a role, or to none: an item in the state table, which Rolekeeper acts on."""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rolekeeper.aws.errors import ConflictError
from rolekeeper.instances.nodes import advice_for, node_of
from rolekeeper.mappings.rows import COLUMNS, CellError
from rolekeeper.model.instance import Action, Association, Instance, InstanceKey, InstanceState, RecordChange
from rolekeeper.model.mapping import NO_ROLE, Control, MappingKey, MappingSpec, Pin
from rolekeeper.model.problem import Advice, Kind, Remedy, advice, typed
from rolekeeper.permissions.comparison import PolicyReader
from rolekeeper.permissions.roles import Roles
from rolekeeper.storage import Update, layout
from rolekeeper.storage.state import Snapshot
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError, WaitTimeoutError
from rolekeeper_cli.uses import names, preview
from rolekeeper_cli.uses.fleet import profile_name, seen_now
from rolekeeper_cli.uses.instances import account_options, addressed, find_instance, shows, starts, title, where
from rolekeeper_cli.uses.preview import Preview

# ---- what may be pinned ----


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person asks for. `verb` is the command: `attach`, `replace`, `detach` or `release`."""

    verb: str
    role: str
    instance_profile: str = ""
    length: timedelta | None = None
    reason: str = ""
    allow_broad: bool = False


def usable_profile(deployment: Deployment, wish: Wish) -> tuple[str, str]:
    """The ARN of the profile to attach, and a note about its role; each may be empty. CommandError if it can't be."""
    if wish.verb == "detach":
        return "", ""
    texts = {"role": wish.role, "instance_profile": wish.instance_profile}
    for column in COLUMNS:
        if text := texts.get(column.name):
            try:
                column.kind.read({"S": text}, deployment.app.home)
            except CellError as error:
                raise UsageError(f"{column.name}: {error}", "nothing was changed") from error
    if wish.role == NO_ROLE:
        raise UsageError(f"{NO_ROLE} is no role", "to let an instance carry none: rolekeeper detach")
    # The command creates nothing in IAM: the profile has to exist.
    settings = replace(deployment.settings, create_missing_profiles=False)
    spec = MappingSpec(MappingKey("", ""), wish.role, wish.instance_profile, allow_broad=wish.allow_broad)
    check = Roles(PolicyReader(deployment.app.iam), settings).check(spec)
    if check.problem:
        meant = names.nearest_role(wish.role, names.path_roles(deployment))
        remedy = f"did you mean {meant}?" if meant else check.problem.remedy or "nothing was changed"
        raise CommandError(str(replace(check.problem, remedy="")), remedy)
    return check.profile_arn, check.note


def _refuse_wrong_verb(deployment: Deployment, instance: Instance, wish: Wish, shown: Association | None) -> None:
    """As the AWS console does: a person who attaches a role doesn't expect to take one away."""
    meant = addressed(deployment, instance.key.id), wish.role
    node = node_of(instance, shown.profile_arn if shown else "")
    if wish.verb == "attach" and shown:
        carried = profile_name(shown.profile_arn)
        same = carried == (wish.instance_profile or wish.role)
        why = "to have it kept whatever its tags say: " if same else "to take that away: "
        remedy = advice_for(node) if node else advice(why, Remedy(Kind.REPLACE, meant))
        raise CommandError(f"{title(instance)} carries {carried} already", remedy)
    if wish.verb == "replace" and not shown:
        remedy = advice_for(node) if node else advice("to give it one: ", Remedy(Kind.ATTACH, meant))
        raise CommandError(f"{title(instance)} carries no role", remedy)


def refuse_foreign(deployment: Deployment, instance: Instance, shown: Association | None) -> None:
    """IAM lets Rolekeeper take away only profiles under the role path, unless the deployment has TakeOver."""
    ownership = deployment.settings.ownership
    if shown and not ownership.manages(shown.profile_arn) and not ownership.take_over:
        node, options = node_of(instance, shown.profile_arn), account_options(deployment)
        detach = f"aws ec2 disassociate-iam-instance-profile --association-id {shown.id}{options}"
        raise CommandError(
            f"{title(instance)} carries the foreign {shown.profile_arn}, which Rolekeeper may not take away",
            advice_for(node) if node else f"detach it by hand ({detach}), or deploy with TakeOver=true",
        )


_POLL_SECONDS = 0.5
# What can be done now takes seconds; for the rest, as long as the AWS CLI's waiters wait.
_PATIENCE_SECONDS, _LONG_PATIENCE_SECONDS = 60, 600
# What ends each reason to change nothing.
_ENDS = {"paused": Kind.RESUME, "observed": Kind.ENFORCE, "unswept": Kind.SWEEP, "control-unclear": Kind.ENFORCE}
# An expired pin is kept for a week: the history then says who released it, and why, also after an outage.
_PIN_KEPT = timedelta(days=7)
# How far the clock that ends a pin may be ahead of the functions': AWS refuses requests of one that is off by more.
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class PlannedPin:
    """A pin that may be written; `shown` is what EC2 shows on the instance, and `warning` what to know beforehand."""

    wish: Wish
    instance: Instance
    shown: Association | None
    pin: Pin
    warning: str = ""

    @property
    def carries(self) -> str:
        """The name of the profile that it carries; empty for none."""
        return (profile_name(self.shown.profile_arn) or "") if self.shown else ""


@dataclass(frozen=True, slots=True)
class Awaited:
    """The profile that EC2 is to show on an instance, by ARN, empty for none, once its pin was `written` or `released`.

    `delay` says why EC2 won't show it soon, in words; empty if it will. `remedy` ends the delay, if a step is needed.
    """

    instance: Instance
    profile_arn: str
    done: str
    delay: str = ""
    remedy: Remedy | None = None

    @property
    def patience(self) -> int:
        return _LONG_PATIENCE_SECONDS if self.delay else _PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Pinned:
    """A pin that is written, the pin that it replaced, and what EC2 is to show then."""

    instance: Instance
    pin: Pin
    awaited: Awaited
    former: Pin | None = None

    def document(self) -> dict[str, Any]:
        return {
            **where(self.instance.key),
            "role": self.pin.role,
            "profile_arn": self.pin.profile_arn,
            "expires_at": self.pin.expires_at,
            "by": self.pin.by,
            "reason": self.pin.reason,
        }


@dataclass(frozen=True, slots=True)
class Release:
    """An instance to release, its pin, if it has one, and whether another actor keeps reverting our change to it."""

    instance: Instance
    pin: Pin | None
    contested: bool

    def document(self) -> dict[str, Any]:
        released = self.pin.role if self.pin else None
        return {**where(self.instance.key), "released": released, "contested": self.contested}


def planned(deployment: Deployment, text: str, wish: Wish) -> PlannedPin:
    """The pin of the instance that a text names, by its id or its name.

    CommandError if the role can't be used, there is no such instance, or the verb doesn't fit what it carries.
    """
    # The role first: a mistyped role is the commonest mistake, and needs no instance to be seen.
    profile_arn, note = usable_profile(deployment, wish)
    instance = find_instance(deployment, text)
    shown = deployment.app.ec2.associations([instance.key.id]).get(instance.key.id)
    _refuse_wrong_verb(deployment, instance, wish, shown=shown)
    refuse_foreign(deployment, instance, shown)
    made = made_of(deployment, wish, profile_arn)
    return PlannedPin(wish, instance, shown, pin=made, warning=f"role '{wish.role}': {note}" if note else "")


def made_of(deployment: Deployment, wish: Wish, profile_arn: str) -> Pin:
    """The pin that a wish makes now."""
    now = deployment.now()
    return Pin(
        role=wish.role,
        profile_arn=profile_arn,
        expires_at=now + wish.length if wish.length else None,
        at=layout.timestamp(now),
        by=deployment.caller.arn,
        reason=wish.reason,
        allow_broad=wish.allow_broad,
    )


def outlives(deployment: Deployment, plan: PlannedPin) -> Advice | None:
    """Until when software may use the role that a pin takes away, and what ends that; None if it takes none."""
    if not plan.shown or plan.pin.profile_arn == plan.shown.profile_arn:
        return None
    return preview.outlives(deployment, addressed(deployment, plan.instance.key.id))


def expected(deployment: Deployment, plan: PlannedPin) -> Preview:
    return preview.of_pin(deployment, seen_now(deployment, plan.instance.key), plan.pin)


def write(deployment: Deployment, plan: PlannedPin) -> Pinned:
    instance, made = plan.instance, plan.pin
    snapshot = deployment.app.state.read([instance.key], [])
    put(deployment, instance.key, made, former=snapshot.pins.get(instance.key))
    delay, remedy = _delay(deployment, instance, plan.shown, profile_arn=made.profile_arn, control=snapshot.control)
    awaited = Awaited(instance, made.profile_arn, "written", delay=delay, remedy=remedy)
    return Pinned(instance, made, awaited, former=_pin_in(deployment, snapshot, instance.key))


def wait(deployment: Deployment, awaited: Awaited) -> None:
    """Wait until EC2 shows what it is to show. In any case the pin stays as it was written.

    CommandError if Rolekeeper has recorded meanwhile why it can't; WaitTimeoutError if EC2 didn't show it in time.
    """
    instance, patience = awaited.instance, awaited.patience
    began, associations = deployment.now(), deployment.app.ec2.associations
    with deployment.progress(patience, "seconds waited for EC2") as progress:
        for left in deployment.looks(_POLL_SECONDS, patience):
            if shows(associations([instance.key.id]).get(instance.key.id), awaited.profile_arn):
                return
            progress.at(int((deployment.now() - began).total_seconds()))
            _stop_where_held(deployment, awaited, began)
            if left.is_over:
                name, wanted = addressed(deployment, instance.key.id), profile_name(awaited.profile_arn) or "no role"
                raise WaitTimeoutError(
                    f"the pin is {awaited.done}, but EC2 doesn't show {wanted} after {patience} s",
                    f"the change stays requested; see what blocks it: rolekeeper explain {name}",
                )


def to_release(deployment: Deployment, text: str) -> Release:
    """The instance that a text names, by its id or its name, with what a release ends."""
    instance = find_instance(deployment, text)
    snapshot = deployment.app.state.read([instance.key], [])
    shown = snapshot.record(instance.key).condition
    contested = shown is not None and shown.code == "contested"
    return Release(instance, _pin_in(deployment, snapshot, instance.key), contested)


def expected_of_release(deployment: Deployment, found: Release) -> Preview:
    return preview.of_tags(deployment, seen_now(deployment, found.instance.key), found.instance.tags, released=True)


def release(deployment: Deployment, found: Release, reason: str = "") -> None:
    """End an instance's pin, and forget that another actor kept reverting our change to it."""
    key, now, by = found.instance.key, deployment.now(), deployment.caller.arn
    if changes := deployment.app.state.read([key], []).record(key).changes:
        deployment.app.state.save(key, RecordChange(lapsed=changes), now)
    if pin := found.pin:
        # One that can't be read is over too then.
        ended = replace(pin, role=pin.role or NO_ROLE, expires_at=now - _SKEW, by=by, reason=reason, unclear="")
        put(deployment, key, ended, former=pin)
    elif found.contested:
        # A pin that is written triggers a reconcile; this doesn't.
        deployment.app.queue.send([key], f"released by {by}{reason and f': {reason}'}", str(uuid.uuid4()))


def after_release(deployment: Deployment, found: Release) -> Awaited:
    """What EC2 is to show on an instance that was released, by what its tags say; raises as `seen_now`."""
    seen = seen_now(deployment, found.instance.key)
    control = deployment.app.state.read([], []).control
    delay, remedy = _delay(
        deployment, seen.instance, seen.observed.association, profile_arn=seen.should_carry, control=control
    )
    if seen.decision.action is Action.HOLD:
        delay, remedy = f"It stays as it is: {seen.decision.reason}.", None
    return Awaited(seen.instance, seen.should_carry, "released", delay=delay, remedy=remedy)


def put(deployment: Deployment, key: InstanceKey, pin: Pin, *, former: Pin | None) -> None:
    """Write an instance's pin in the place of its `former` one. CommandError if another was written meanwhile."""
    store = deployment.app.store
    write = store.put(pin_item(key, pin))
    known = {"at": former.at, "by": former.by} if former else {}
    # One that a person wrote by hand may lack what it is known by.
    if all(known.values()):
        write["Put"] |= Update().only_as(known, "at", "by").arguments()
    try:
        store.write(write)
    except ConflictError as error:
        found = deployment.app.state.read([key], []).pins.get(key)
        # Ours, of which the answer was lost.
        if found is None or (found.at, found.by) != (pin.at, pin.by):
            what = f"another person pinned or released {key.id} meanwhile; nothing was changed"
            raise CommandError(what, "look at it again") from error


def pin_item(key: InstanceKey, pin: Pin) -> layout.Item:
    """A pin as it is stored; `expires` lets DynamoDB drop it, long after it ended."""
    # That is what a reader finds. The state table's policy lets people write the other attributes only.
    item = {**layout.key_attributes(layout.pin_key(key)), **layout.encode(pin)}
    del item["unclear"]
    if pin.expires_at:
        item["expires"] = int((pin.expires_at + _PIN_KEPT).timestamp())
    return item


def _pin_in(deployment: Deployment, snapshot: Snapshot, key: InstanceKey) -> Pin | None:
    """An instance's pin, unless that is over."""
    pin = snapshot.pins.get(key)
    return None if pin and pin.expired(deployment.now()) else pin


def _delay(
    deployment: Deployment, instance: Instance, shown: Association | None, *, profile_arn: str, control: Control
) -> tuple[str, Remedy | None]:
    """Why EC2 won't show a profile soon, in words, and what ends that; empty if it will."""
    if withheld := control.withholds(deployment.settings.mode):
        return f"Nothing changes yet: {withheld.reason}. It is done when that ends.", Remedy(_ENDS[withheld.code])
    if instance.state in {InstanceState.PENDING, InstanceState.STOPPING}:
        why = f"The instance is {instance.state}, when EC2 takes no change: it is done as soon as EC2 takes it."
        return why, None
    replaces = shown and profile_arn and shown.profile_arn != profile_arn
    if replaces and instance.state is InstanceState.STOPPED:
        how = starts(deployment, instance)
        why = "The instance is stopped, and EC2 replaces the role of a running one only: it is done when it starts"
        return f"{why} ({how}).", typed(how)
    return "", None


def _stop_where_held(deployment: Deployment, awaited: Awaited, since: datetime) -> None:
    """Raise CommandError if Rolekeeper has recorded that EC2 refused the change, or that a permission is missing."""
    instance = awaited.instance
    shown = deployment.app.state.read([instance.key], []).record(instance.key).condition
    if shown and shown.action is Action.HOLD and shown.since >= since:
        what = f"the pin is {awaited.done}, but {title(instance)} stays as it is: {shown.reason}"
        name = addressed(deployment, instance.key.id)
        back = f", or take it back: rolekeeper release {name}" if awaited.done == "written" else ""
        raise CommandError(what, f"the change stays requested; repair that{back}")
