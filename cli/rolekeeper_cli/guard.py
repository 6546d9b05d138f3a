"""Printing a document that goes around a deployment: JSON on stdout as it is, what JSON can't hold on stderr."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import click

from rolekeeper_cli import output, render
from rolekeeper_cli.tables import Column, Layout

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
    options = output.options()
    if options.query or options.output in {"yaml", "csv"}:
        render.show(document, lambda: None)
    else:
        click.echo(text)
    for each in about:
        output.say(textwrap.fill(each, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False))
