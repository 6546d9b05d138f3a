"""A pin as an item of the state table, which Rolekeeper acts on; and waiting until EC2 shows what was asked for."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from rolekeeper.aws.errors import ConflictError
from rolekeeper.model.instance import Action, Instance, InstanceKey
from rolekeeper.model.mapping import Pin
from rolekeeper.model.problem import Kind, Remedy, typed
from rolekeeper.storage import Update, layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.fleet.follow import still_waiting
from rolekeeper_cli.instance.seen import Seen, profile_name
from rolekeeper_cli.instance.use import addressed, shows, starts, title

_POLL_SECONDS = 0.5
# What can be done now takes seconds; for the rest, as long as the AWS CLI's waiters wait.
_PATIENCE_SECONDS, _LONG_PATIENCE_SECONDS = 60, 600
# What ends each reason to change nothing.
_ENDS = {"paused": Kind.RESUME, "observed": Kind.ENFORCE, "unswept": Kind.SWEEP, "control-unclear": Kind.ENFORCE}
# An expired pin is kept for a week: the history then says who released it, and why, also after an outage.
_PIN_KEPT = timedelta(days=7)


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


# ---- waiting until EC2 shows it ----


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


def awaited(deployment: Deployment, then: Seen, pin: Pin | None) -> Awaited:
    """What EC2 is to show on an instance that is pinned, or if there is no `pin`, released."""
    profile_arn, done = (pin.profile_arn, "written") if pin else (then.should_carry, "released")
    delay, remedy = _delay(deployment, then)
    return Awaited(then.instance, profile_arn, done, delay=delay, remedy=remedy)


def _delay(deployment: Deployment, then: Seen) -> tuple[str, Remedy | None]:
    """Why EC2 won't show it soon, in words, and what ends that; empty if it will."""
    control = deployment.app.state.read([], []).control
    if then.decision.action is Action.HOLD:
        return f"It stays as it is: {then.decision.reason}.", None
    if withheld := control.withholds(deployment.settings.mode):
        return f"Nothing changes yet: {withheld.reason}. It is done when that ends.", Remedy(_ENDS[withheld.code])
    if then.decision.code == "changing":
        return f"It doesn't change at once: {then.waits}.", None
    if then.decision.code == "stopped":
        how = starts(deployment, then.instance)
        why = "The instance is stopped, and EC2 replaces the role of a running one only: it is done when it starts"
        return f"{why} ({how}).", typed(how)
    return "", None


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
                wanted = profile_name(awaited.profile_arn) or "no role"
                what = f"the pin is {awaited.done}, but EC2 doesn't show {wanted} after {patience} s"
                raise still_waiting(deployment, what, [instance.key])


def _stop_where_held(deployment: Deployment, awaited: Awaited, since: datetime) -> None:
    """Raise CommandError if Rolekeeper has recorded that EC2 refused the change, or that a permission is missing."""
    instance = awaited.instance
    shown = deployment.app.state.read([instance.key], []).record(instance.key).condition
    if shown and shown.action is Action.HOLD and shown.since >= since:
        what = f"the pin is {awaited.done}, but {title(instance)} stays as it is: {shown.reason}"
        name = addressed(deployment, instance.key.id)
        back = f", or take it back: rolekeeper release {name}" if awaited.done == "written" else ""
        raise CommandError(what, f"the change stays requested; repair that{back}")
