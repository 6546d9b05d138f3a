"""How the deployment is set: its switches, who set them and why, and the stack's parameters."""

from typing import Any

from rolekeeper.model.mapping import Control
from rolekeeper.storage import layout
from rolekeeper_cli.deploying.template_parameters import parameters
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.views.history import control_history

# The newest writes of the switches.
_NEWEST = 20


def settings(deployment: Deployment) -> dict[str, Any]:
    """See the module. What can't be read of the switches is `unclear`; then nothing is changed.

    `standing` is how they stand, in words: who switches because of it says so, and is refused where it moved.
    """
    item = deployment.app.store.get([layout.CONTROL]).get(layout.CONTROL, {})
    control, deployed = deployment.app.state.read([], []).control, deployment.settings.mode
    withheld = control.withholds(deployed)
    return {
        "mode": (control.mode or deployed).value,
        "set": control.mode.value if control.mode else None,
        "deployed": deployed.value,
        "paused": control.paused,
        "unclear": control.unclear or None,
        "withheld": withheld.reason if withheld else None,
        "claimed_by": str(item.get("by", "")) or None,
        "claimed_reason": str(item.get("reason", "")) or None,
        "standing": str(Control.read(item)),
        "stack": deployment.stack.name,
        "version": deployment.stack.outputs.get("Version"),
        "parameters": _parameters(deployment),
        "history": control_history(deployment, _NEWEST),
    }


def _parameters(deployment: Deployment) -> list[dict[str, str]]:
    """The stack's parameters in the template's order, then what this version doesn't know."""
    values = deployment.stack.parameters
    known = {name: str(each.get("Description", "")) for name, each in parameters().items() if name in values}
    return [
        {"name": name, "value": values[name], "means": known.get(name, "")}
        for name in [*known, *sorted(values.keys() - known.keys())]
    ]
