"""Taking a target out of the registry, once its spoke is gone."""

from collections.abc import Mapping
from typing import Any

from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.views import targets


def forgettable(deployment: Deployment, text: str) -> Mapping[str, Any]:
    """The target that a text names, as `views.targets` shows it.

    Raises:
        UsageError: the text is no target.
        CommandError: it isn't in the registry, or it is the hub's own.
    """
    target = targets.read(text)
    known = {f"{each['account']}/{each['region']}": each for each in targets.documents(deployment)}
    if text not in known:
        raise CommandError(f"{target} is no target", f"{did_you_mean(text, known)} see: rolekeeper targets".lstrip())
    if known[text]["hub"]:
        raise UsageError(f"{text} is the deployment's own", "to remove the deployment: rolekeeper destroy")
    return known[text]


def forget(deployment: Deployment, text: str) -> None:
    """Delete it from the registry; one that is gone already is no error."""
    deployment.app.registry.remove(targets.read(text))
