"""`rolekeeper schema`: what editors check a file of mappings with, and what a column means."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from rolekeeper.mappings.rows.cells import TYPES
from rolekeeper.mappings.rows.columns import ASKS, COLUMNS, KEYS, OURS, Column
from rolekeeper_cli import render, terminal
from rolekeeper_cli import render as tables
from rolekeeper_cli.command import command
from rolekeeper_cli.completion import columns
from rolekeeper_cli.errors import ExitCode, UsageError
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.uses.schema import MEANING


@command("schema", "rolekeeper schema > mappings.schema.json", "rolekeeper schema when_stopped")
@click.argument(
    "column", required=False, shell_complete=columns, help="A column of the mapping table, to have it explained."
)
def schema(column: str | None) -> ExitCode:
    """Write the JSON Schema of mapping files, or explain a column.

    Beside a file that `rolekeeper mapping export` made, as mappings.schema.json, editors complete and check with it.
    """
    if column:
        return explain(column)
    from rolekeeper_cli.uses.schema import text

    click.echo(text(), nl=False)
    return ExitCode.DONE


# ---- a column explained ----


# How each is typed after `rolekeeper mapping set workload=web`.
EXAMPLES = {
    "role": "role=web",
    "instance_profile": "role=web instance_profile=web-2026",
    "priority": "role=web priority=5",
    "enabled": "role=web enabled=false",
    "when_occupied": "role=web when_occupied=replace",
    "when_unmatched": "role=web when_unmatched=keep",
    "when_stopped": "role=web when_stopped=swap",
    "allow_broad": "role=web allow_broad=true",
    "require_tags": "role=web 'require_tags=environment=production;tier=*'",
    "accounts": "role=web 'accounts=123456789012;210987654321'",
    "regions": "role=web 'regions=eu-central-1;us-east-1'",
    "units": "role=web 'units=ou-a1b2-c3d4e5f6;ou-a1b2-d4e5f6a7'",
    "expires_at": "role=web expires_at=2030-01-31T18:00:00Z",
    "owner": "role=web owner=team-web",
    "description": "role=web 'description=the web servers'",
}
# What people ask beside the mapping; Rolekeeper takes it out of the row once it is done.
_ASKS = {
    "approve": "publishes the held edit of this number, once its approver signed it: rolekeeper mapping approve",
    "approved_by": "who signed that approval, as aws:userid; rolekeeper mapping approve writes it",
    "discard": "drops the held edit or deletion of this number; no instance changes: rolekeeper mapping discard",
    "edited_by": "who claims to have made this edit; it goes into the history, as a claim",
}
_OURS = {
    "status": "the result of the last edit: Published, Held, Rejected, Conflict, Waiting or Expired",
    "status_reason": "why it has this status, and what to do",
    "status_revision": "the revision that is in effect; 0 for none",
    "matched": "instances that the mapping governed when it was last counted",
    "occupied": "how many of those carry a foreign role",
    "held_revision": "while the status is Held: the number of the revision that waits for approval",
}


def column_names() -> Iterator[str]:
    """Every column's name: those that people fill in first."""
    yield from (column.name for column in (*KEYS, *COLUMNS, *ASKS))
    yield from OURS


def explain(name: str) -> ExitCode:
    """Explain one column.

    Raises:
        UsageError: there is none of that name.
    """
    document = _document(name)
    render.show(document, lambda: _draw(document))
    return ExitCode.DONE


def _draw(document: Mapping[str, Any]) -> None:
    """Below what is to be read, what is to be copied, in one piece."""
    lines = [(key.replace("_", " "), value) for key, value in document.items() if value is not None]
    tables.show_table(("", ""), [line for line in lines if line[0] != "example"])
    if document.get("example"):
        terminal.line(f"example:\n  {document['example']}")


def _document(name: str) -> Mapping[str, Any]:
    for column in (*KEYS, *COLUMNS, *ASKS):
        if column.name == name:
            return _filled_in(column)
    if name in OURS:
        return {"column": name, "means": _sentence(_OURS[name]), "written_by": "Rolekeeper; leave it alone"}
    listed = f"the columns are {', '.join(column_names())}"
    raise UsageError(f"there is no column {name!r}", f"{did_you_mean(name, column_names())} {listed}".lstrip())


def _filled_in(column: Column) -> Mapping[str, Any]:
    meaning = MEANING.get(column.name) or _ASKS[column.name]
    example = EXAMPLES.get(column.name)
    if column in KEYS:
        example = "role=web"
    return {
        "column": column.name,
        "means": _sentence(meaning),
        "takes": column.kind.range,
        "default": None if column.default == "required" else column.default,
        "required": column.default == "required",
        "type": TYPES[column.kind.type],
        "written_by": "you, or Rolekeeper's command" if column in ASKS else "you",
        "example": f"rolekeeper mapping set workload=web {example}" if example else None,
    }


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
