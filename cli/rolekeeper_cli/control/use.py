"""The switches of the whole deployment: the mode, and the pause."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Self

from botocore.config import Config

from rolekeeper.aws.errors import ConflictError, classified
from rolekeeper.aws.queue import Task
from rolekeeper.model.mapping import Control, Mode
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.storage import layout
from rolekeeper.storage.state import Update
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.control.view import SweptView, SwitchesView
from rolekeeper_cli.deploy.parameters import parameters
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.mapping import preview
from rolekeeper_cli.mapping.preview import Preview
from rolekeeper_cli.row.effect import Claim

# A person who has to stop everything at once can't wait until a large fleet is counted.
_COUNTED_SECONDS = 5.0
_LOOK_AGAIN = "look at how it stands now, and decide again"


@dataclass(frozen=True, slots=True)
class Switches:
    """The switches as the control item has them, the mode that is deployed, and who claims to have switched last."""

    control: Control
    deployed: Mode
    claim: Claim

    @classmethod
    def read(cls, deployment: Deployment) -> Self:
        control = deployment.app.state.read([], []).control
        return cls(control, deployment.settings.mode, Claim.read(deployment, control))

    @classmethod
    def after(cls, deployment: Deployment, change: Mapping[str, Any], reason: str) -> Self:
        """Return the switches as a change by the caller would leave them."""
        claim = Claim(deployment.caller.arn, layout.timestamp(deployment.now()), reason)
        return cls(_changed(deployment, change), deployment.settings.mode, claim)

    @property
    def mode(self) -> Mode:
        return self.control.mode or self.deployed

    def view(self) -> SwitchesView:
        """Return what programs get. CommandError if the control item can't be read, so that nothing is changed."""
        if why := self.control.unclear:
            raise CommandError(f"nothing is changed, as {why}", advice("set it: ", Remedy(Kind.SETTINGS)))
        return SwitchesView(
            mode=self.mode.value,
            deployed=self.deployed.value,
            paused=self.control.paused,
            claimed_by=self.claim.by or None,
            claimed_at=self.claim.at or None,
            claimed_reason=self.claim.reason or None,
        )

    def __str__(self) -> str:
        is_ = "set" if self.control.mode else "as deployed"
        paused = "paused" if self.control.paused else "not paused"
        switched = str(self.claim) if self.control.mode or self.control.paused else ""
        return f"mode: {self.mode} ({is_}), {paused}{switched}"


def switch(
    deployment: Deployment, change: Mapping[str, str | bool], reason: str, *, planned_on: str | None = None
) -> Switches:
    """Set attributes of the control item and leave the others; returns the switches then.

    Who does it, and why, is written beside it: a claim, as anyone may write anything there.

    Args:
        change: `mode` ("observe" or "enforce") or `paused`.
        reason: why, for the mail and the history.
        planned_on: the control item (`str(Control)`) when this was decided; None: whatever it says.

    Raises:
        CommandError: the control item has changed since; nothing was written.
    """
    now = layout.timestamp(deployment.now())
    update = Update().set({**change, "by": deployment.caller.arn, "at": now, "reason": reason})
    store = deployment.app.store
    if planned_on is not None:
        item = store.get([layout.CONTROL]).get(layout.CONTROL, {})
        found = str(Control.read(item))
        if found != planned_on:
            raise CommandError(f"another actor switched meanwhile, from {planned_on} to {found}", _LOOK_AGAIN)
        update.only_as(item, "mode", "paused")
    try:
        store.write(store.update(layout.CONTROL, update))
    except ConflictError as error:
        raise CommandError("another actor switched meanwhile", _LOOK_AGAIN) from error
    return Switches.read(deployment)


def expected(deployment: Deployment, change: Mapping[str, Any]) -> Preview | str:
    """What a change would do if it stops changes or lets them through; else a sentence that it does neither."""
    before = deployment.app.state.read([], []).control
    after = replace(_changed(deployment, change), swept=before.swept)
    mode = deployment.settings.mode
    stops, stopped = after.withholds(mode), before.withholds(mode)
    if bool(stops) == bool(stopped):
        return f"Nothing else changes by that: {stops.reason if stops else 'changes are made as before'}."
    return preview.of_switch(deployment, after, _COUNTED_SECONDS if stops else inf)


def _changed(deployment: Deployment, change: Mapping[str, Any]) -> Control:
    return Control.read({**deployment.app.store.get([layout.CONTROL]).get(layout.CONTROL, {}), **change})


def stack_parameters(deployment: Deployment) -> list[tuple[str, str, str]]:
    """List each parameter of the stack, its value and its meaning; last those that this version doesn't know."""
    values = deployment.stack.parameters
    known = {name: str(each.get("Description", "")) for name, each in parameters().items() if name in values}
    names = [*known, *sorted(values.keys() - known.keys())]
    return [(name, values[name], known.get(name, "")) for name in names]


# ---- sweeping now: the scheduled function is invoked, as by its schedule ----

# The longest that a function may run (Lambda quotas), as the answer comes at its end. Invoked once: a second sweep
# beside the first would do no harm, and no good.
_CONFIG = Config(read_timeout=910, retries={"total_max_attempts": 1})


def sweep(deployment: Deployment, *, wait: bool) -> SweptView | None:
    """Sweep, and return the function's report; None without waiting. CommandError if the function failed."""
    function = deployment.resource("OnSchedule")
    client = deployment.client("lambda", _CONFIG)
    with classified("lambda:InvokeFunction", function):
        answer = client.invoke(
            FunctionName=function,
            InvocationType="RequestResponse" if wait else "Event",
            Payload=json.dumps({"task": Task.SWEEP.value, "id": str(uuid.uuid4())}).encode(),
        )
        text = answer["Payload"].read()
    if not wait:
        return None
    swept = json.loads(text)
    if answer.get("FunctionError"):
        said = swept.get("errorMessage", swept) if isinstance(swept, dict) else swept
        raise CommandError(f"the sweep failed: {said}", "see its log: the saved query 'errors and retries'")
    # A function of another version may report more.
    known = {name: value for name, value in swept.items() if name in SweptView.fields}
    if missing := SweptView.fields.keys() - SweptView.defaults.keys() - known.keys():
        what = f"the sweep reported no {min(missing)}"
        raise CommandError(what, "deploy the version of this command: rolekeeper deploy")
    return SweptView(**known)
