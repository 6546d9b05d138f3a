"""`rolekeeper destroy`: delete the stack, after saying what happens to instances, tables and mappings.

Deleting detaches nothing: instances keep their roles, which nobody changes from then on. To remove the roles, they are
detached first, while Rolekeeper is paused: otherwise it would attach them again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rolekeeper.aws import Ec2
from rolekeeper.aws.errors import AwsRefusalError, NotFoundError
from rolekeeper.model.instance import Association, AssociationState, Instance
from rolekeeper.settings import Ownership
from rolekeeper.storage import layout
from rolekeeper.storage.state import Update
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.deploy.deploy import PATIENT
from rolekeeper_cli.deploy.rollout import Rollout
from rolekeeper_cli.deploy.stack import TABLES, existing, read_template
from rolekeeper_cli.deploy.view import DestroyedView, KeptResourceView
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.mapping.files_command import exported
from rolekeeper_cli.row.files import refuse_csv
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.layout import amount
from rolekeeper_cli.shell.tables import show_table
from rolekeeper_cli.shell.terminal import Progress

# ---- the instances that carry a managed role, as EC2 shows them ----

type Carried = list[tuple[Instance, Association]]


def carrying(ec2: Ec2, ownership: Ownership) -> Iterator[tuple[Instance, Association]]:
    """The instances of an account and Region that carry a managed role, and haven't ended."""
    with Progress(None, "instances looked at") as progress:
        for page in progress.pages(ec2.fleet()):
            there = [each for each in page if not each.ended]
            associations = ec2.associations([each.key.id for each in there])
            for instance in there:
                found = associations.get(instance.key.id)
                if (
                    found
                    and found.state is not AssociationState.DISASSOCIATING
                    and ownership.manages(found.profile_arn)
                ):
                    yield instance, found


# EC2 refills 5 changes of roles in a second for the whole account (docs/AWS_FACTS.md, "Throttles").
_PACE_SECONDS = 0.25


def destroy(
    deployment: Deployment, export: str | None, *, detach: bool | None = None, confirm: str | None = None
) -> None:
    """A person at a terminal is asked for what is None. `confirm` is the stack's name, typed before."""
    stack, client = deployment.stack_name, deployment.client("cloudformation", PATIENT)
    terminal.require_word(stack, confirm)
    stack_id = str(existing(client, stack)["StackId"])
    kept = dict(_kept(client, stack_id))
    # A stack whose creation failed has no tables, and attached nothing.
    works = deployment.outputs.keys() >= TABLES
    carried = _carried(deployment) if works else []
    mappings = len(deployment.app.table.all_rows()) if works else 0
    terminal.say(f"Stack {stack} in {deployment.region}, account {deployment.caller.account}.")
    _show(kept, len(carried), mappings)
    if mappings and export is None and terminal.offer(f"Export {amount(mappings, 'mapping')} to a file first?"):
        names = (f"mappings-{stack}-{deployment.region}{each}.yaml" for each in ("", *range(-2, -100, -1)))
        export = next(name for name in names if not Path(name).exists())
    if carried and detach is None:
        instances = amount(len(carried), "instance")
        detach = terminal.offer(f"Detach the managed role from {instances} first? What it allows is lost at once.")
    terminal.confirm_word(stack, f"Delete the stack {stack}?", confirm)
    if export and works:
        _export(deployment, export)
    if detach and works:
        _pause(deployment)
        _detach(deployment, carried)
    Rollout(client, stack, deployment.sleep).delete(stack_id, f"the deletion of {stack}")
    # A function that ran when the pause was written may have attached another one.
    left = _detach(deployment, _carried(deployment)) if detach and works else carried
    _report(kept, mappings, export, detached=len(carried) - len(left), left=left)


def _kept(client: Any, stack_id: str) -> Iterator[tuple[str, str]]:
    """The resources that the deployed template retains: the name in the template, and AWS's name."""
    # botocore parses a template that is JSON.
    body = client.get_template(StackName=stack_id, TemplateStage="Processed")["TemplateBody"]
    template = body if isinstance(body, dict) else read_template(body)
    for page in client.get_paginator("list_stack_resources").paginate(StackName=stack_id):
        for each in page["StackResourceSummaries"]:
            declared = template["Resources"].get(each["LogicalResourceId"], {})
            if declared.get("DeletionPolicy") == "Retain":
                yield each["LogicalResourceId"], each.get("PhysicalResourceId", "")


def _carried(deployment: Deployment) -> Carried:
    return list(carrying(deployment.app.ec2, deployment.settings.ownership))


def _show(kept: dict[str, str], carried: int, mappings: int) -> None:
    if not terminal.options().for_people:
        return
    rows = [
        ("instances", f"{amount(carried, 'instance')} with a managed role: kept, and nobody changes it from then on"),
        ("mappings", f"{amount(mappings, 'mapping')} in the mapping table: kept, but no tag means a role any longer"),
        *((name, f"{physical}: kept, protected against deletion") for name, physical in kept.items()),
        ("roles, profiles", "those under the role path are kept"),
        ("the rest", "functions, queues with their messages, rules, alarms and logs are deleted"),
    ]
    show_table(("what", "would happen"), rows)


def _export(deployment: Deployment, target: str) -> None:
    refuse_csv(target)
    text, count = exported(deployment)
    try:
        with Path(target).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        what = f"{target} can't be written: {error.strerror}"
        raise CommandError(what, "nothing was deleted; name another file") from error
    terminal.say(f"Mappings exported to {target}: {count:,}.")


def _pause(deployment: Deployment) -> None:
    store, why = deployment.app.store, "the deployment is being deleted"
    update = Update().set({"paused": True, "by": deployment.caller.arn, "reason": why})
    store.write(store.update(layout.CONTROL, update))


def _detach(deployment: Deployment, carried: Carried) -> Carried:
    """Detach these, and return those that couldn't be."""
    left: Carried = []
    with Progress(len(carried), "roles detached") as progress:
        for instance, association in progress.over(carried):
            try:
                deployment.app.ec2.disassociate(instance.key, association.id)
            except NotFoundError:
                continue
            except AwsRefusalError as error:
                progress.hide()
                terminal.warn(f"{instance.key.id} keeps its role: {error.message}")
                left.append((instance, association))
            deployment.sleep(_PACE_SECONDS)
    return left


def _report(kept: dict[str, str], mappings: int, target: str | None, detached: int, left: Carried) -> None:
    render.show(
        DestroyedView(
            outcome="destroyed",
            kept=[KeptResourceView(resource=name, name=physical) for name, physical in kept.items()],
            mappings=mappings,
            exported=target,
            detached=detached,
            carrying=[instance.key.id for instance, _ in left],
        )
    )
    terminal.say(f"Deleted. Roles that were detached: {detached:,}. Instances that still carry one: {len(left):,}.")
    for name, physical in kept.items():
        terminal.say(f"Kept: {name} {physical}. To delete it for good, switch off its deletion protection first.")
