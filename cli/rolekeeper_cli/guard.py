"""`rolekeeper guard`: what to put around a deployment, as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import click

from rolekeeper_cli import policies, render, terminal, uses
from rolekeeper_cli.command import Group, command, deployment
from rolekeeper_cli.errors import ExitCode, UsageError
from rolekeeper_cli.layout import Column, Layout

_except = click.option(
    "--except",
    "excepted",
    metavar="ARN",
    multiple=True,
    help="Who may, a role or a user; * and ? are wildcards. Needed; may be given again.",
)
_tag_key = click.option(
    "--tag-key", "tag_keys", metavar="KEY", multiple=True, help="Only the rows of this tag key; may be given again."
)
_ADMIN = "--except arn:aws:iam::123456789012:role/admin"


@click.group(
    "guard",
    cls=Group,
    invoke_without_command=True,
    examples=["rolekeeper guard", f"rolekeeper guard scp-tags {_ADMIN} > tags.json", "rolekeeper guard editors"],
)
@click.pass_context
def group(context: click.Context) -> ExitCode:
    """Print what to put around the deployment.

    Each part is one JSON document on stdout, ready for a file; what JSON can't say is on stderr. Without a part it
    lists them. Nothing is changed: attach the documents yourself.
    """
    if context.invoked_subcommand is None:
        show_parts()
    return ExitCode.DONE


@command(
    "scp-tags",
    f"rolekeeper guard scp-tags {_ADMIN} > tags.json",
    "rolekeeper guard scp-tags --except 'arn:aws:iam::*:role/may-tag-*' --part 2",
)
@_except
@click.option(
    "--part", type=click.IntRange(1), default=1, metavar="N", help="Which, where all keys don't fit into one."
)
def scp_tags(excepted: tuple[str, ...], part: int) -> ExitCode:
    """Print the service control policy for the mapped tags.

    Only those you except may set, change or remove a tag on an instance that a mapping reads, require_tags included,
    or the tag rolekeeper:ignore; by a launch too, and by the tags of Auto Scaling groups.
    """
    principals = policies.control.principals(excepted)
    there = deployment()
    rows = uses.rows.mapping_rows(there).all()
    keys = policies.document.mapped_keys(rows, policies.document.specs(there, rows))
    arns = policies.document.arns(there)
    documents = policies.control.tag_policies(arns, keys, principals)
    if part > len(documents):
        raise UsageError(f"there is no part {part}: all keys fit into {len(documents)}", "give a lower --part")
    about = policies.control.about(arns, f"account {arns.account} in {arns.region}")
    if len(documents) > 1:
        about += [f"Part {part} of {len(documents)}, as {len(keys):,} keys don't fit into one: print each with --part."]
    document = documents[part - 1]
    show(
        document,
        policies.document.fitting(document, policies.document.SCP_LIMIT),
        [*about, *policies.control.ABOUT_TAGS],
    )
    return ExitCode.DONE


@command("scp-path", f"rolekeeper guard scp-path {_ADMIN} > path.json")
@_except
def scp_path(excepted: tuple[str, ...]) -> ExitCode:
    """Print the service control policy for the role path.

    Only those you except may make, change or delete roles, instance profiles and policies under the role path; the
    stack's own functions, and the changers of a hub's spokes, may make profiles.
    """
    principals = policies.control.principals(excepted)
    there = deployment()
    makers = policies.document.roles_that_make_profiles(there)
    arns = policies.document.arns(there)
    document = policies.control.path_policy(arns, makers, principals)
    about = policies.control.about(arns, f"account {arns.account}")
    show(
        document,
        policies.document.fitting(document, policies.document.SCP_LIMIT),
        [*about, *policies.control.ABOUT_PATH],
    )
    return ExitCode.DONE


@command("editors", "rolekeeper guard editors > editors.json", "rolekeeper guard editors --tag-key workload")
@_tag_key
def editors(tag_keys: tuple[str, ...]) -> ExitCode:
    """Print the IAM policy of those who edit mappings.

    They write rows, but neither the columns that Rolekeeper writes nor approvals, nor the state table.
    """
    document = policies.mapping_table.editors_policy(policies.document.arns(deployment()), tag_keys)
    show(
        document,
        policies.document.fitting(document, policies.document.MANAGED_LIMIT),
        policies.mapping_table.ABOUT_EDITORS,
    )
    return ExitCode.DONE


@command("approvers", "rolekeeper guard approvers > approvers.json")
@_tag_key
def approvers(tag_keys: tuple[str, ...]) -> ExitCode:
    """Print the IAM policy of those who approve held edits.

    They sign approvals under their own name, which IAM proves, and write them into rows, and nothing else.
    """
    document = policies.mapping_table.approvers_policy(policies.document.arns(deployment()), tag_keys)
    show(
        document,
        policies.document.fitting(document, policies.document.MANAGED_LIMIT),
        policies.mapping_table.ABOUT_APPROVERS,
    )
    return ExitCode.DONE


@command("detection", "rolekeeper guard detection", "rolekeeper guard detection --query event_pattern --output json")
def detection() -> ExitCode:
    """Print what detection rules leave out.

    The roles whose calls to attach, replace and detach are Rolekeeper's own, and an event pattern of EventBridge that
    matches these calls by anybody else.
    """
    there = deployment()
    document = policies.control.detection(
        policies.document.arns(there), policies.document.roles_that_change_associations(there)
    )
    show(document, policies.document.readable(document), policies.control.ABOUT)
    return ExitCode.DONE


# ---- how a document is shown ----


# What each part is, and what it is for.
PARTS = {
    "scp-tags": ("SCP", "only some set or remove the tags that mean a role"),
    "scp-path": ("SCP", "only some change roles and profiles under the path"),
    "editors": ("IAM policy", "write rows, but no approval and no status"),
    "approvers": ("IAM policy", "approve held edits, and write nothing else"),
    "detection": ("exclusion", "leave Rolekeeper's own calls out of detection rules"),
}
_WIDTH = 79


def show_parts() -> None:
    """List the parts."""
    documents = [{"part": part, "is": kind, "for": purpose} for part, (kind, purpose) in PARTS.items()]
    layout = Layout([Column("part"), Column("is"), Column("for", folds=True)])
    render.show_list(layout, documents, empty=lambda: "There are no parts.")


def show(document: Mapping[str, Any], text: str, about: Iterable[str]) -> None:
    """Print a document, then what is to be known about it.

    Args:
        document: it.
        text: the same as it goes into a file.
        about: sentences for people.
    """
    options = terminal.options()
    if options.query or options.output in {"yaml", "csv"}:
        render.show(document, lambda: None)
    else:
        click.echo(text)
    for each in about:
        terminal.say(textwrap.fill(each, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False))


for each in (scp_tags, scp_path, editors, approvers, detection):
    group.add_command(each)
