"""`rolekeeper guard`: what to put around a deployment, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.guard.view import GuardPartView
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.command import Group, deployment, lists, prints
from rolekeeper_cli.shell.layout import Column, Layout

with lazily():
    from rolekeeper_cli.guard import use


def _except(about: str) -> Callable[[Any], Any]:
    help_ = f"{about}; * and ? are wildcards. May be given again."
    return click.option("--except", "excepted", metavar="ARN", multiple=True, help=help_)


_except_people = _except("Needed: who may, a role or a user")
_tag_key = click.option(
    "--tag-key", "tag_keys", metavar="KEY", multiple=True, help="Only the rows of this tag key; may be given again."
)
_ADMIN = "--except arn:aws:iam::123456789012:role/admin"


@lists()
@prints(guard_parts=list[GuardPartView])
@click.group(
    "guard",
    cls=Group,
    invoke_without_command=True,
    examples=["rolekeeper guard", f"rolekeeper guard scp-tags {_ADMIN} > tags.json", "rolekeeper guard editors"],
)
@click.pass_context
def group(context: click.Context) -> None:
    """Print what to put around the deployment.

    Each part is one JSON document on stdout, ready for a file; what JSON can't say is on stderr. Without a part it
    lists them. Nothing is changed: attach the documents yourself.
    """
    if context.invoked_subcommand is None:
        parts = [GuardPartView(part=part, is_=kind, for_=purpose) for part, (kind, purpose) in PARTS.items()]
        layout = Layout(
            [Column("part"), Column("is", lambda part: part.is_), Column("for", lambda part: part.for_, kind="text")]
        )
        render.show_list(layout, parts, empty=str)


@group.command(
    "scp-tags",
    examples=[
        f"rolekeeper guard scp-tags {_ADMIN} > tags.json",
        "rolekeeper guard scp-tags --except 'arn:aws:iam::*:role/may-tag-*' --part 2",
    ],
)
@_except_people
@click.option(
    "--part", type=click.IntRange(1), default=1, metavar="N", help="Which, where all keys don't fit into one."
)
def scp_tags(excepted: tuple[str, ...], part: int) -> None:
    """Print the service control policy for the mapped tags.

    Only those you except may set, change or remove a tag on an instance that a mapping reads, require_tags included,
    or the tag rolekeeper:ignore; by a launch too, and by the tags of Auto Scaling groups.
    """
    principals = use.principals(excepted)
    there = deployment()
    arns, keys = use.Arns.of(there), there.mapped_keys
    documents = use.tag_policies(arns, keys, principals)
    if part > len(documents):
        raise CommandError(f"there is no part {part}: all keys fit into {len(documents)}", "give a lower --part")
    about = _for(arns, f"account {arns.account} in {arns.region}")
    if len(documents) > 1:
        about += [f"Part {part} of {len(documents)}, as {len(keys):,} keys don't fit into one: print each with --part."]
    show(documents[part - 1], [*about, *_ABOUT_TAGS], limit=use.SCP_LIMIT)


@group.command("scp-path", examples=[f"rolekeeper guard scp-path {_ADMIN} > path.json"])
@_except_people
def scp_path(excepted: tuple[str, ...]) -> None:
    """Print the service control policy for the role path.

    Only those you except may make, change or delete roles, instance profiles and policies under the role path; the
    stack's own functions, and the changers of a hub's spokes, may make profiles.
    """
    principals = use.principals(excepted)
    there = deployment()
    arns, makers = use.Arns.of(there), [there.resource(each) for each in use.MAKE_PROFILES]
    document = use.rendered("scp-path", arns=arns, makers=makers, excepted=principals)
    show(document, [*_for(arns, f"account {arns.account}"), *_ABOUT_PATH], limit=use.SCP_LIMIT)


@group.command(
    "scp-source",
    examples=[
        "rolekeeper guard scp-source > source.json",
        "rolekeeper guard scp-source --except 'arn:aws:iam::*:role/rolekeeper/batch-*'",
    ],
)
@_except("A role whose credentials may be used from anywhere")
def scp_source(excepted: tuple[str, ...]) -> None:
    """Print the service control policy against stolen credentials.

    What an instance gets of a role under the role path works only from its own VPC and its own address. It needs VPC
    endpoints: a call that doesn't go through one is denied.
    """
    principals = use.principals(excepted) if excepted else []
    arns = use.Arns.of(deployment())
    document = use.rendered("scp-source", arns=arns, excepted=principals)
    show(document, [*_for(arns, f"account {arns.account}"), *_ABOUT_SOURCE], limit=use.SCP_LIMIT)


@group.command("revokers", examples=["rolekeeper guard revokers > revokers.json"])
def revokers() -> None:
    """Print the IAM policy of those who run rolekeeper revoke.

    They write inline policies of roles under the role path, and read what tells which credentials may be valid.
    """
    document = use.rendered("revokers", arns=use.Arns.of(deployment()))
    show(document, _ABOUT_REVOKERS, limit=use.MANAGED_LIMIT)


@group.command(
    "editors", examples=["rolekeeper guard editors > editors.json", "rolekeeper guard editors --tag-key workload"]
)
@_tag_key
def editors(tag_keys: tuple[str, ...]) -> None:
    """Print the IAM policy of those who edit mappings.

    They write rows, but not the columns that Rolekeeper writes, nor the state table.
    """
    document = use.editors_policy(use.Arns.of(deployment()), tag_keys)
    show(document, _ABOUT_EDITORS, limit=use.MANAGED_LIMIT)


@group.command("approvers", examples=["rolekeeper guard approvers > approvers.json"])
@_tag_key
def approvers(tag_keys: tuple[str, ...]) -> None:
    """Print the IAM policy of those who approve held edits.

    They write approvals under their own name, which IAM proves, and nothing else.
    """
    document = use.approvers_policy(use.Arns.of(deployment()), tag_keys)
    show(document, _ABOUT_APPROVERS, limit=use.MANAGED_LIMIT)


@group.command(
    "verifiers",
    examples=["rolekeeper guard verifiers > deploy.json", "rolekeeper guard verifiers --part 2 > verify.json"],
)
@click.option("--part", type=click.IntRange(1, 2), default=1, metavar="N", help="Which of the two policies.")
def verifiers(part: int) -> None:
    """Print the IAM policies of those who run rolekeeper verify.

    They need both. The first allows a verification's deployment, the second what is done to it, and to what it is tried
    on: by their names, or by the tag that they carry. It takes no deployment.
    """
    there = deployment()
    caller, region = there.caller, there.region
    document = use.verifiers_policies(caller.partition, caller.account, region)[part - 1]
    tag = use.VERIFY_TAG
    about = (
        f"Part {part} of 2, both are needed: print each with --part.",
        f"They are for names that begin with {use.VERIFY_PREFIX}, and for instances with the tag {tag}.",
        "A person who carries them can make roles of that name and pass them: take them away after the verification.",
    )
    show(document, about)


@group.command(
    "detection",
    examples=["rolekeeper guard detection", "rolekeeper guard detection --query event_pattern --output json"],
)
def detection() -> None:
    """Print what detection rules leave out.

    The roles whose calls to attach, replace and detach are Rolekeeper's own, and an event pattern of EventBridge that
    matches these calls by anybody else.
    """
    there = deployment()
    names = [there.resource(each) for each in use.CHANGE_ASSOCIATIONS]
    show(use.rendered("detection", arns=use.Arns.of(there), names=names), _ABOUT_DETECTION)


# What each part is, and what it is for.
PARTS = {
    "scp-tags": ("SCP", "only some set or remove the tags that mean a role"),
    "scp-path": ("SCP", "only some change roles and profiles under the path"),
    "scp-source": ("SCP", "an instance's credentials work nowhere else"),
    "editors": ("IAM policy", "write rows, but no approval and no status"),
    "approvers": ("IAM policy", "approve held edits, and write nothing else"),
    "revokers": ("IAM policy", "run rolekeeper revoke on roles under the path"),
    "verifiers": ("IAM policy", "run rolekeeper verify, on its own things only"),
    "detection": ("exclusion", "leave Rolekeeper's own calls out of detection rules"),
}

# What there is to know of each.
_HIDE_TAGS = (
    *(f"ec2:{name}" for name in ("CreateLaunchTemplate", "CreateLaunchTemplateVersion", "ModifyLaunchTemplate")),
    *("autoscaling:UpdateAutoScalingGroup", "ec2:CreateFleet", "ec2:ModifyFleet", "ec2:RequestSpotFleet"),
)
_ABOUT_SCPS = (
    "It binds neither service-linked roles nor the account that manages the organization.",
    "Anyone who can make or assume what --except names can do what it denies: name whole ARNs, and guard those.",
)
_ABOUT_TAGS = (
    *_ABOUT_SCPS,
    "Auto Scaling, EC2 Fleet and Spot Fleet tag what they launch, by service-linked roles.",
    "It denies giving these tags to an Auto Scaling group. No condition key shows the tags inside a launch template.",
    f"So let only those who may tag call {', '.join(_HIDE_TAGS)}.",
    "Print it again when a mapping reads another tag key: rolekeeper doctor names the keys that nothing guards.",
)
_ABOUT_PATH = (
    *_ABOUT_SCPS,
    "The roles that it excepts by itself can be changed by those who deploy the stacks: guard that (docs/deploy.md).",
    "It doesn't guard managed policies outside the path: keep those of these roles under it.",
)
_ABOUT_SOURCE = (
    _ABOUT_SCPS[0],
    "It needs a VPC endpoint of each service that instances call: over a NAT or internet gateway, a call is denied.",
    "Look first which calls come through one: they have a vpcEndpointId in CloudTrail. --except roles that can't yet.",
    "It compares an instance's primary IPv4 address: a call over a proxy or from another address of it is denied too.",
    "It can't see roles that are assumed with these credentials: limit who may be assumed from instances.",
)
_ABOUT_REVOKERS = (
    "IAM can't say which inline policy may be written: who carries it can change what the roles may do. Guard it so.",
    "guard scp-path denies it to all but those whom it excepts: except these people there too.",
)
_BOTH = "A person who carries the policies of both can neither edit nor approve."
_ABOUT_EDITORS = (
    "It denies what Rolekeeper writes into rows, and the state table, whatever else a person may do.",
    _BOTH,
    "A tool that puts a whole row back, status and all, is refused: leave out what Rolekeeper wrote.",
)
_ABOUT_APPROVERS = (
    "It denies all writes into the mapping table; in the state table, all but own approvals.",
    _BOTH,
    "Of a role's session, IAM proves the role and the session's name: have the trust policy fix the name.",
)
_ABOUT_DETECTION = (
    "Leave out roles (userIdentity.sessionContext.sessionIssuer.arn) or sessions (userIdentity.arn), not both.",
    "Watch who can change these roles and their functions: what they do is left out.",
    "event_pattern is for a rule of EventBridge, and needs a trail that keeps management events that write.",
    "It also matches calls that AWS refused (errorCode). A launch with a profile is another call: RunInstances.",
)


def _for(arns: use.Arns, where: str) -> list[str]:
    """What an SCP is to be attached to; `where` a deployment is that is no hub."""
    if arns.spokes:
        return ["It is for every target of the hub: attach it to their accounts, or to the units that have them."]
    return [f"It is for {where}: attach it to that account."]


def show(document: Mapping[str, Any], about: Iterable[str], limit: int | None = None) -> None:
    """Print a document as it goes into a file, within AWS's limit, then what there is to know about it."""
    text = use.fitting(document, limit) if limit else use.readable(document)
    if terminal.options().query:
        render.show(document)
    else:
        click.echo(text)
    for each in about:
        terminal.say(f"- {each}")
