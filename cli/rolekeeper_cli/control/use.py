"""The switches of the whole deployment: the mode, and the pause."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

from botocore.config import Config

from rolekeeper.aws.errors import ConflictError, classified
from rolekeeper.aws.queue import Task
from rolekeeper.model.mapping import Control
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.storage import layout
from rolekeeper.storage.state import Update
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.control.view import SweptView, SwitchesView
from rolekeeper_cli.deploy.parameters import parameters
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.instance.history import control_history
from rolekeeper_cli.mapping import preview
from rolekeeper_cli.mapping.preview import Preview
from rolekeeper_cli.row.effect import Claim, withheld

# A person who has to stop everything at once can't wait until a large fleet is counted.
_COUNTED_SECONDS = 5.0
_HISTORY = 20
_LOOK_AGAIN = "look at how it stands now, and decide again"


def status(deployment: Deployment) -> tuple[SwitchesView, str]:
    """The switches, and the same in words. CommandError if the control item can't be read: then nothing is changed."""
    control = deployment.app.state.read([], []).control
    if control.unclear:
        raise CommandError(f"nothing is changed, as {control.unclear}", advice("set it: ", Remedy(Kind.SETTINGS)))
    claim = Claim.read(deployment, control)
    found = _switches(deployment, control, claim)
    mode = f"{found.mode} ({'set' if control.mode else 'as deployed'})"
    switched = claim if control.mode or control.paused else ""
    return found, f"mode: {mode}, {'paused' if control.paused else 'not paused'}{switched}"


def _switches(deployment: Deployment, control: Control, claim: Claim) -> SwitchesView:
    deployed = deployment.settings.mode
    mode = control.mode or deployed
    return SwitchesView(mode=mode.value, deployed=deployed.value, paused=control.paused, **claim.document())


def switch(deployment: Deployment, change: Mapping[str, Any], reason: str, *, planned_on: str | None = None) -> None:
    """Change attributes of the control item and leave the others.

    Who does it, and why, is written beside it: a claim, as anyone may write anything there.

    Args:
        change: `mode` ("observe", "enforce", or None: as deployed) or `paused`.
        reason: why, for the mail and the history.
        planned_on: the control item (`str(Control)`) when this was decided; None: whatever it says.

    Raises:
        CommandError: the control item has changed since; nothing was written.
    """
    values = {name: value for name, value in change.items() if value is not None}
    now = layout.timestamp(deployment.now())
    update = Update().set({**values, "by": deployment.caller.arn, "at": now, "reason": reason})
    store = deployment.app.store
    if planned_on is not None:
        item = store.get([layout.CONTROL]).get(layout.CONTROL, {})
        found = str(Control.read(item))
        if found != planned_on:
            raise CommandError(f"another actor switched meanwhile, from {planned_on} to {found}", _LOOK_AGAIN)
        update.only_as(item, "mode", "paused")
    try:
        store.write(store.update(layout.CONTROL, update.remove(*(change.keys() - values.keys()))))
    except ConflictError as error:
        raise CommandError("another actor switched meanwhile", _LOOK_AGAIN) from error


def expected(deployment: Deployment, change: Mapping[str, Any]) -> Preview | str:
    """What a change would do if it stops changes or lets them through; else a sentence that it does neither."""
    before = deployment.app.state.read([], []).control
    item = {**deployment.app.store.get([layout.CONTROL]).get(layout.CONTROL, {}), **change}
    after = replace(Control.read(item), swept=before.swept)
    mode = deployment.settings.mode
    stops, stopped = after.withholds(mode), before.withholds(mode)
    if bool(stops) == bool(stopped):
        return f"Nothing else changes by that: {stops.reason if stops else 'changes are made as before'}."
    return preview.of_switch(deployment, after, _COUNTED_SECONDS if stops else inf)


def settings(deployment: Deployment) -> dict[str, Any]:
    """The switches, the stack's parameters, and the newest writes of the switches.

    If the control item can't be read, `unclear` says why, and nothing is changed. `standing` is the item in words, for
    `switch(planned_on=…)`.
    """
    item = deployment.app.store.get([layout.CONTROL]).get(layout.CONTROL, {})
    control = deployment.app.state.read([], []).control
    return {
        **_switches(deployment, control, Claim.read(deployment, control)).as_mapping(),
        "set": control.mode.value if control.mode else None,
        "unclear": control.unclear or None,
        "withheld": withheld(deployment) or None,
        "standing": str(Control.read(item)),
        "stack": deployment.stack.name,
        "version": deployment.stack.outputs.get("Version"),
        "parameters": _parameters(deployment),
        "history": control_history(deployment, _HISTORY),
    }


def _parameters(deployment: Deployment) -> list[dict[str, str]]:
    """The stack's parameters in the template's order, then those that this version doesn't know."""
    values = deployment.stack.parameters
    known = {name: str(each.get("Description", "")) for name, each in parameters().items() if name in values}
    return [
        {"name": name, "value": values[name], "means": known.get(name, "")}
        for name in [*known, *sorted(values.keys() - known.keys())]
    ]


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
        raise CommandError(
            f"the sweep reported no {min(missing)}", "deploy the version of this command: rolekeeper deploy"
        )
    return SweptView(**known)
