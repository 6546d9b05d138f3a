"""Pinning an instance to a role, or to none: an item in the state table. Rolekeeper itself does the rest."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from rolekeeper.instances.observe import Unreadable, observe
from rolekeeper.mappings.rows.cells import Cell, CellError
from rolekeeper.mappings.rows.columns import COLUMNS
from rolekeeper.model.instance import Action, Association, Instance, InstanceKey, InstanceState, RecordChange
from rolekeeper.model.mapping import NO_ROLE, MappingKey, MappingSpec, Pin
from rolekeeper.permissions import PolicyReader, Roles
from rolekeeper.settings import Ownership
from rolekeeper.storage import codec, layout
from rolekeeper.storage.state import Snapshot
from rolekeeper_cli import known, output, preview, prompts, render
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ExitCode, UsageError, WaitTimeoutError
from rolekeeper_cli.fleet import Enforced, Seen
from rolekeeper_cli.instances import find_instance, shows, starts, title

_POLL_SECONDS = 0.5
# What can come now comes in seconds; what has to be waited for, as long as the AWS CLI's waiters wait.
_PATIENCE_SECONDS, _LONG_PATIENCE_SECONDS = 60, 600
# What ends each reason for which nothing is changed.
_ENDS = {
    "paused": "rolekeeper resume",
    "observed": "rolekeeper mode enforce",
    "unswept": "rolekeeper sweep",
    "control-unclear": "rolekeeper mode enforce",
}
# A pin that expired is kept for a week, to be looked at.
_PIN_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person asks for. `verb` is the command: `attach`, `replace` or `detach`."""

    verb: str
    role: str
    instance_profile: str = ""
    length: timedelta | None = None
    reason: str = ""
    allow_broad: bool = False


def pin(  # noqa: PLR0913  # how it is asked and waited for are options of the command
    deployment: Deployment,
    text: str,
    wish: Wish,
    *,
    wait: bool | None,
    yes: bool = False,
    confirm: str | None = None,
) -> ExitCode:
    """Pin the instance that a text names; a person at a terminal is shown first what that would do, and asked.

    Args:
        deployment: where.
        text: the instance's id or name.
        wish: what is asked for.
        wait: whether to wait until EC2 shows it; None: if it can come now, and else a person is asked.
        yes: whether it was agreed to beforehand.
        confirm: the word that a detach asks for, if it was given.

    Raises:
        CommandError: the role can't be used, or the instance isn't as the verb takes it.
        WaitTimeoutError: EC2 didn't show it in time. The pin stands.
    """
    ec2 = deployment.app.ec2
    # Checked before the instance is looked for: it is the commoner slip.
    profile_arn = _profile_of(deployment, wish)
    instance = find_instance(ec2, text)
    shown = ec2.associations([instance.key.id]).get(instance.key.id)
    _refuse_wrong_verb(instance, wish, shown)
    _refuse_foreign(instance, shown, deployment.settings.ownership)
    now = deployment.now()
    made = Pin(
        role=wish.role,
        profile_arn=profile_arn,
        expires_at=now + wish.length if wish.length else None,
        at=layout.timestamp(now),
        by=deployment.caller.arn,
        reason=wish.reason,
        allow_broad=wish.allow_broad,
    )
    if prompts.asks(yes=yes or confirm is not None):
        _show_expected(deployment, instance, made)
    if wish.verb == "detach":
        carries = f"carries {_name(shown)}" if shown else "carries no role already, and is to carry none"
        prompts.confirm_word("Detach", f"{title(instance)} {carries}.", confirm)
    elif prompts.asks(yes=yes):
        prompts.confirm(f"{wish.verb.capitalize()}: pin {title(instance)} to {wish.role}?", yes=False)
    snapshot = deployment.app.state.read([instance.key], [])
    if former := snapshot.pins.get(instance.key):
        output.say(f"It was pinned to {former.role or 'something unclear'}{_until(former.expires_at)} before.")
    deployment.app.store.write(deployment.app.store.put(pin_item(instance.key, made)))
    _show(instance, made)
    later = _what_delays(instance, shown, made, snapshot, deployment)
    if later:
        output.say(later)
    if wait is None:
        wait = not later or prompts.offer("Wait for it?")
    if wait and later:
        output.say(_meanwhile(instance, snapshot, deployment))
    if wait:
        _wait(deployment, instance, made, _LONG_PATIENCE_SECONDS if later else _PATIENCE_SECONDS)
    return ExitCode.DONE


def release(deployment: Deployment, text: str) -> ExitCode:
    """Take an instance's pin away, and forget that another actor kept reverting our change to it."""
    instance = find_instance(deployment.app.ec2, text)
    snapshot = deployment.app.state.read([instance.key], [])
    former = snapshot.pins.get(instance.key)
    record = snapshot.record(instance.key)
    contested = record.condition is not None and record.condition.code == "contested"
    store = deployment.app.store
    if record.changes:
        deployment.app.state.save(instance.key, RecordChange(lapsed=record.changes), deployment.now())
    store.write(store.delete(layout.pin_key(instance.key)))
    if contested and not former:
        # A pin that goes wakes Rolekeeper by itself; this doesn't.
        deployment.app.queue.send([instance.key], f"released by {deployment.caller.arn}", str(uuid.uuid4()))
    if former:
        said = f"{title(instance)} is released from {former.role or 'its pin'} and goes back to its tags."
    else:
        said = f"{title(instance)} has no pin; its tags rule."
    told = {"instance": instance.key.id, "released": former.role if former else None, "contested": contested}
    render.show(told, lambda: output.line(said))
    if contested:
        output.say("Another actor kept reverting Rolekeeper's change to it; Rolekeeper tries again.")
    return ExitCode.DONE


def pin_item(key: InstanceKey, pin: Pin) -> codec.Item:
    """A pin as it is stored; `expires` lets DynamoDB drop it, long after it ended."""
    item = {**layout.key_attributes(layout.pin_key(key)), **codec.encode(pin)}
    if pin.expires_at:
        item["expires"] = int((pin.expires_at + _PIN_KEPT).timestamp())
    return item


# ---- checks ----


def _profile_of(deployment: Deployment, wish: Wish) -> str:
    """The ARN of the profile to attach, once the role is known to be usable; empty for none."""
    if wish.verb == "detach":
        return ""
    texts = {"role": wish.role, "instance_profile": wish.instance_profile}
    for column in COLUMNS:
        if text := texts.get(column.name):
            try:
                column.kind.read(Cell("S", text, deployment.app.home))
            except CellError as error:
                raise UsageError(f"{column.name}: {error}", "nothing was changed") from error
    if wish.role == NO_ROLE:
        raise UsageError(f"{NO_ROLE} is no role", "to let an instance carry none: rolekeeper detach")
    # The command makes nothing in IAM: the profile has to be there.
    settings = deployment.settings
    roles = Roles(PolicyReader(deployment.app.iam), settings, makes_profiles=False)
    spec = MappingSpec(MappingKey("", ""), wish.role, wish.instance_profile, allow_broad=wish.allow_broad)
    check = roles.check(spec)
    if check.problem:
        what, _, remedy = check.problem.partition("; ")
        meant = known.role_meant(deployment, wish.role)
        raise CommandError(what, f"did you mean {meant}?" if meant else remedy or "nothing was changed")
    if check.note:
        output.warn(f"role '{wish.role}': {check.note}")
    return check.profile_arn


def _refuse_wrong_verb(instance: Instance, wish: Wish, shown: Association | None) -> None:
    """As the console does: who means to attach doesn't expect to take something away."""
    command = f"{instance.key.id} {wish.role}"
    if wish.verb == "attach" and shown:
        what = f"{title(instance)} carries {_name(shown)} already"
        raise CommandError(what, f"to take that away: rolekeeper replace {command}")
    if wish.verb == "replace" and not shown:
        raise CommandError(f"{title(instance)} carries no role", f"to give it one: rolekeeper attach {command}")


def _refuse_foreign(instance: Instance, shown: Association | None, ownership: Ownership) -> None:
    """IAM lets Rolekeeper take away only what is under the role path, unless the deployment says otherwise."""
    if shown and not ownership.manages(shown.profile_arn) and not ownership.take_over:
        detach = f"aws ec2 disassociate-iam-instance-profile --association-id {shown.id}"
        raise CommandError(
            f"{title(instance)} carries the foreign {shown.profile_arn}, which Rolekeeper may not take away",
            f"detach it by hand ({detach}), or deploy with TakeOver=true",
        )


def _what_delays(
    instance: Instance, shown: Association | None, made: Pin, snapshot: Snapshot, deployment: Deployment
) -> str:
    """Why EC2 won't show the change soon; empty when it will."""
    if withheld := snapshot.control.withholds(deployment.settings.mode):
        return f"Nothing changes yet: {withheld.reason}. The pin is kept; it is done when that ends."
    if instance.state in {InstanceState.PENDING, InstanceState.STOPPING}:
        return f"The instance is {instance.state}, when EC2 takes no change: it is done as soon as EC2 takes it."
    replaces = shown and made.role != NO_ROLE and shown.profile_arn != made.profile_arn
    if replaces and instance.state is InstanceState.STOPPED:
        return (
            f"The instance is stopped, and EC2 replaces the role of a running one only: it is done when it starts "
            f"({starts(instance)})."
        )
    return ""


def _meanwhile(instance: Instance, snapshot: Snapshot, deployment: Deployment) -> str:
    """How long this terminal waits, and what a person types in another one to have it done."""
    command = ""
    if withheld := snapshot.control.withholds(deployment.settings.mode):
        command = _ENDS[withheld.code]
    elif instance.state is InstanceState.STOPPED:
        command = starts(instance)
    do = f" To have it done, type in another terminal: {command}" if command else ""
    return f"Waiting, at most {_LONG_PATIENCE_SECONDS // 60} minutes; Ctrl-C ends the wait, and the pin stays.{do}"


def _wait(deployment: Deployment, instance: Instance, made: Pin, patience: int) -> None:
    began = deployment.now()
    with deployment.progress(patience, "seconds waited for EC2") as progress:
        while not shows(deployment.app.ec2.associations([instance.key.id]).get(instance.key.id), made.profile_arn):
            waited = int((deployment.now() - began).total_seconds())
            progress.at(waited)
            _stop_where_held(deployment, instance, began)
            if waited >= patience:
                raise WaitTimeoutError(
                    f"the pin is written, but EC2 doesn't show it after {patience} s",
                    f"it stays wanted; see what hinders it: rolekeeper explain {instance.key.id}",
                )
            deployment.sleep(_POLL_SECONDS)
    output.say(f"EC2 shows {'no role' if made.role == NO_ROLE else made.role} on it.")


def _stop_where_held(deployment: Deployment, instance: Instance, since: datetime) -> None:
    """End the wait when Rolekeeper says meanwhile why it won't come: EC2 refused it, or a permission is missing.

    Raises:
        CommandError: it did.
    """
    shown = deployment.app.state.read([instance.key], []).record(instance.key).condition
    if shown and shown.action is Action.HOLD and shown.since >= since:
        what = f"the pin is written, but {title(instance)} stays as it is: {shown.reason}"
        raise CommandError(what, f"it stays wanted; repair that, or take it back: rolekeeper release {instance.key.id}")


# ---- words ----


def _show_expected(deployment: Deployment, instance: Instance, made: Pin) -> None:
    state = Enforced(deployment.app.store, deployment.app.state.check_pin)
    observed = observe([instance.key], deployment.app.ec2, state, deployment.now())[instance.key]
    if isinstance(observed, Unreadable):
        raise observed.error
    for line in preview.of_pin(deployment, Seen.of(observed, deployment), made).lines():
        output.say(line)


def _show(instance: Instance, made: Pin) -> None:
    told = {
        "instance": instance.key.id,
        "role": made.role,
        "profile_arn": made.profile_arn,
        "expires_at": made.expires_at,
        "by": made.by,
        "reason": made.reason,
    }
    pinned = "to no role" if made.role == NO_ROLE else f"to {made.role}"
    render.show(told, lambda: output.line(f"{title(instance)} is pinned {pinned}{_until(made.expires_at)}."))
    output.say(f"  rolekeeper release {instance.key.id} gives it back to its tags")


def _name(shown: Association) -> str:
    return shown.profile_arn.rsplit("/", 1)[-1]


def _until(expires_at: datetime | None) -> str:
    return f" until {expires_at:%Y-%m-%dT%H:%M:%SZ}" if expires_at else ""
