"""Settings: the mode, the pause, who set them and why; and switching them, once it was shown what that would do."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolekeeper_cli.console.forms import Form, posted, reason_of
from rolekeeper_cli.console.jobs import look
from rolekeeper_cli.console.page import Notice, done, live, page
from rolekeeper_cli.control import use
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.instance.history import control_history
from rolekeeper_cli.row.effect import withheld

_HISTORY = 20


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of the control item's attributes; `done` is shown afterwards."""

    title: str
    done: str
    change: Mapping[str, str | bool]


SWITCHES = {
    "pause": Switch("Pause Rolekeeper", "Rolekeeper is paused", {"paused": True}),
    "resume": Switch("Resume Rolekeeper", "Rolekeeper is resumed", {"paused": False}),
    "observe": Switch("Set the mode to observe", "The mode is observe", {"mode": "observe"}),
    "enforce": Switch("Set the mode to enforce", "The mode is enforce", {"mode": "enforce"}),
}


def settings(request: Request, part: str = "") -> Response:
    """The page; its part is the newest switches, for one that was shown before the last of them was reported."""
    deployment = request.app.state.site.look()
    values = {
        "set": use.Switches.read(deployment),
        "withheld": withheld(deployment),
        "stack": deployment.stack,
        "parameters": use.stack_parameters(deployment),
        "history": control_history(deployment, _HISTORY),
    }
    return page(request, "settings.html", part=part, title="Settings", **values)


def planned(request: Request) -> dict[str, Any]:
    """What a switch would do, counted beside the page: a person who has to stop everything need not wait."""
    name, switch = _switch(request.query_params.get("what", ""))
    reason = request.query_params.get("reason", "").strip()
    command = ["rolekeeper", *(["mode"] if "mode" in switch.change else []), name]
    seen = look(request, f"switch {name}", lambda deployment: [use.expected(deployment, switch.change)]).seen()
    return vars(seen) | {
        "title": switch.title,
        "name": name,
        "switch": switch,
        "reason": reason,
        "command": shlex.join([*command, *(["--reason", reason] if reason else [])]),
        "standing": str(use.Switches.read(request.app.state.site.look()).control),
        "does": seen.newest,
    }


@posted
def switched(request: Request, form: Form) -> Response:
    """Switch, unless another person switched since this was planned."""
    name, switch = _switch(form.get("what", ""))
    reason = reason_of(form)
    if name == "pause" and not reason:
        raise UsageError("a pause needs a reason", "say why, for those who wonder: go back, and fill it in")
    use.switch(request.app.state.site.look(), switch.change, reason, planned_on=form.get("standing", ""))
    return done(request, "/settings", Notice(f"{switch.done}."))


def _switch(name: str) -> tuple[str, Switch]:
    if name not in SWITCHES:
        raise UsageError("the page doesn't say what to switch", "use the buttons of the page Settings")
    return name, SWITCHES[name]


ROUTES = [
    Route("/settings", settings),
    Route("/settings/history", partial(settings, part="part")),
    *live("/settings/switch", planned, "switch.html"),
    Route("/settings/switch", switched, methods=["POST"]),
]
