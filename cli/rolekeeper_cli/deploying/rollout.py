"""Bringing a stack to what template and parameters say: what would change is shown, asked about, done and followed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper_cli import output, prompts
from rolekeeper_cli.deploying.change_set import ChangeSet, Operation, Template
from rolekeeper_cli.deploying.deployed_stack import Present
from rolekeeper_cli.deploying.deployment_view import Changed, Differing, failed, follow, show
from rolekeeper_cli.deploying.stack_parameters import Parameters
from rolekeeper_cli.errors import ConfigurationError

# What to do after a failure, by the status in which it leaves the stack.
_REMEDIES = {
    "ROLLBACK_COMPLETE": "fix that and deploy again, which removes what is left of this attempt first",
    "UPDATE_ROLLBACK_COMPLETE": "fix that and deploy again; the stack is as it was before",
}


@dataclass(frozen=True, slots=True)
class Rollout:
    """One stack, and how it is decided: `yes` asks nobody, `dry_run` changes nothing."""

    client: Any
    stack: str
    sleep: Callable[[float], None]
    yes: bool
    dry_run: bool

    def remove_what_failed(self, present: Present) -> None:
        """Delete the empty stack that an earlier, failed creation left.

        Raises:
            CommandError: nothing may be changed, the person said no, or it failed.
        """
        stack = self.stack
        if self.dry_run:
            raise ConfigurationError(
                f"the first deployment of '{stack}' failed, and its empty stack is in the way",
                "deploy without --dry-run",
            )
        output.say(f"The first deployment of {stack} failed; its empty stack has to be deleted before.")
        prompts.confirm("Delete it?", yes=self.yes)
        delete(self.client, present.id, self.sleep, what=f"the deletion of the empty stack {stack}")

    def change(self, template: Template, present: Present, parameters: Parameters, given: Parameters) -> Changed:
        """Show what would change, ask, and change it.

        Args:
            template: what the stack is to be.
            present: the stack as it is.
            parameters: all parameters that it is to have.
            given: those of them that aren't left as they are.

        Raises:
            CommandError: it can't be done, the person said no, or it failed; the message says why.
        """
        asked = _as_asked(parameters, present.parameters, given)
        with ChangeSet.create(self.client, self.stack, template, parameters=asked, status=present.status) as change_set:
            changes = change_set.changes(self.sleep)
            differing = _differing(present.parameters, parameters) if changes else []
            show(changes, differing)
            if not changes:
                output.say("Nothing would change: the stack is as it should be.")
                return Changed("unchanged", changes, differing)
            if self.dry_run:
                return Changed("shown", changes, differing)
            prompts.confirm(f"Make these {len(changes)} changes?", yes=self.yes)
            operation = change_set.execute(self.sleep)
        self._follow(operation)
        return Changed("deployed", changes, differing)

    def _follow(self, operation: Operation) -> None:
        status, failures = follow(operation)
        if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            what = f"the deployment of {self.stack} failed ({status})"
            raise failed(what, failures, _REMEDIES.get(status, "repair the stack in CloudFormation"))


def delete(client: Any, stack_id: str, sleep: Callable[[float], None], what: str) -> None:
    """Delete a stack, and show how that goes.

    Raises:
        ServiceError: it failed; `what` is how the sentence that says so begins.
    """
    operation = Operation(client, stack_id, sleep)
    client.delete_stack(StackName=stack_id)
    status, failures = follow(operation)
    if status != "DELETE_COMPLETE":
        raise failed(f"{what} failed ({status})", failures, "fix that and run it again")


def _as_asked(parameters: Parameters, present: Mapping[str, str], given: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """The parameters as CloudFormation takes them; one that is new in the template has its default."""
    kept = [name for name in parameters if name in present and name not in given]
    return [
        *({"ParameterKey": name, "ParameterValue": value} for name, value in given.items()),
        *({"ParameterKey": name, "UsePreviousValue": True} for name in kept),
    ]


def _differing(present: Mapping[str, str], parameters: Mapping[str, str]) -> list[Differing]:
    return [
        {"parameter": name, "value": value, "was": present.get(name)}
        for name, value in parameters.items()
        if present.get(name) != value
    ]
