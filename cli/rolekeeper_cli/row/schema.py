"""The JSON Schema (draft 7) of a file of mappings, made from the one definition of the columns.

Editors complete and check with it. It knows names, types and limits; look-alike letters, dates that don't exist and
roles that aren't there it can't know: the reader of rows and the publisher have the last word.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rolekeeper.mappings import rows
from rolekeeper.mappings.rows import COLUMNS, KEYS, OURS, PASSING, TYPES, Column
from rolekeeper.model.mapping import (
    NO_ROLE,
    RESERVED,
    MappingKey,
    MappingSpec,
    OnHalt,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.model.waves import AT_ONCE, PATTERN
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.row.view import ColumnView
from rolekeeper_cli.shell.suggest import did_you_mean

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
# What a file writes for each of DynamoDB's types.
_TYPES = {"S": "string", "N": "integer", "BOOL": "boolean", "M": "object", "SS": "array"}
_PLAIN = MappingSpec(MappingKey("", ""), "")


def _pattern(pattern: str, limit: int) -> dict[str, Any]:
    return {"pattern": f"^{pattern}$", "maxLength": limit}


def _set(pattern: str, limit: int) -> dict[str, Any]:
    return {"items": {"type": "string", "pattern": f"^{pattern}$"}, "minItems": 1, "maxItems": limit}


# Patterns are as both Python and JSON Schema (ECMA 262) read them: without \w, which means more in Python.
_TEXT = r"\S(.*\S)?"  # without a blank at its ends
# `none` for NONE is a slip that the readers name.
_NO_ROLE_BUT_FOR_CASE = "".join(f"[{each.upper()}{each.lower()}]" for each in NO_ROLE)
_NAME = f"(?!{_NO_ROLE_BUT_FOR_CASE}$){rows.NAME}"
MEANING = {
    "tag_key": "the tag's key, as instances carry it",
    "tag_value": "the tag's value; * for any value",
    "role": f"the role that these instances carry, by name, under the role path; {NO_ROLE}: they carry no role",
    "instance_profile": "the profile that holds the role, if named otherwise",
    "priority": "the lowest number wins; different roles of the same number are a conflict",
    "enabled": "whether the row matches at all; false: it is checked and matches nothing",
    "when_occupied": "what to do with a foreign role, one outside the role path; "
    "replace also needs the stack's TakeOver",
    "when_unmatched": "what to do with the role that the mapping gave when the tag goes",
    "when_stopped": "how a role is replaced on a stopped instance: wait until it runs, or detach and attach",
    "allow_broad": "whether the role may be broad; also needs the stack's AllowBroadRoles",
    "require_tags": "further tags that an instance must carry too",
    "accounts": "the accounts in which the mapping matches",
    "not_accounts": "the accounts in which it doesn't, whatever the other columns say",
    "regions": "the Regions in which the mapping matches",
    "units": "the organizational units, by id, in whose accounts the mapping matches, as their spokes say; "
    "ou-a1b2-c3d4e5f6/* is that unit and all below it",
    "not_units": "the organizational units in whose accounts it doesn't, whatever the other columns say",
    "rollout": "in which waves an edit moves instances from one role to another: a share of them each, and how long "
    "each lasts",
    "halt_on": "alarms of CloudWatch that halt the rollout while they ring, beside the deployment's own",
    "halt_after": "how many instances of a wave may end other than converged before the rollout halts",
    "on_halt": "what a halted rollout does: wait for a person, or go back by itself",
    "expires_at": "after it the mapping no longer matches",
    "owner": "who answers for the row",
    "description": "what it is for",
    # Rolekeeper takes it out of the row once the edit is judged.
    "edited_by": "who claims to have made this edit; it goes into the history, as a claim",
    "resume_revision": "the revision whose halted rollout is to go on; Rolekeeper takes it out of the row once it does",
    # What Rolekeeper writes.
    "status": "the result of the last edit: Published, Rolling out, Halted, Held, Rejected, Conflict, "
    "Waiting or Expired",
    "status_reason": "why it has this status, and what to do",
    "status_details": "the same for programs: a list of codes with arguments",
    "status_revision": "the revision that is in effect; 0 for none",
    "matched": "instances that the mapping governed when it was last counted",
    "occupied": "how many of those carry a foreign role",
    "moved": "while a rollout goes on: how many instances it has moved",
    "judging": "while a run for each account asks there: in how many; then the status is no verdict yet",
    "held_revision": "while the status is Held: the number of the revision that waits for approval",
}
# What the reader of each column takes, as far as a schema can say it.
_ACCEPTS = {
    "tag_key": _pattern(f"(?!{RESERVED}){_TEXT}", rows.LONGEST_KEY),
    "tag_value": _pattern(_TEXT, rows.LONGEST_VALUE),
    "role": _pattern(f"({NO_ROLE}|{_NAME})", rows.LONGEST_ROLE),
    "instance_profile": _pattern(_NAME, rows.LONGEST_PROFILE),
    "priority": {"minimum": rows.PRIORITIES[0], "maximum": rows.PRIORITIES[1]},
    "when_occupied": {"enum": [*WhenOccupied]},
    "when_unmatched": {"enum": [*WhenUnmatched]},
    "when_stopped": {"enum": [*WhenStopped]},
    "require_tags": {
        "maxProperties": rows.MOST_TAGS,
        "propertyNames": _pattern(_TEXT, rows.LONGEST_KEY),
        "additionalProperties": {"type": "string", **_pattern(f"({_TEXT})?", rows.LONGEST_VALUE)},
    },
    "accounts": _set(rows.ACCOUNT, rows.ACCOUNTS),
    "not_accounts": _set(rows.ACCOUNT, rows.ACCOUNTS),
    "regions": _set(rows.REGION, rows.REGIONS),
    "units": _set(rows.UNIT, rows.UNITS),
    "not_units": _set(rows.UNIT, rows.UNITS),
    "rollout": {"pattern": f"^({AT_ONCE}|{PATTERN})$"},
    "halt_on": _set(rows.ALARM, rows.ALARMS),
    "halt_after": {"minimum": 0, "maximum": rows.FAILURES},
    "on_halt": {"enum": [*OnHalt]},
    "expires_at": {"pattern": f"^{rows.DATE}{rows.TIME}{rows.ZONE}$"},
    "owner": {"maxLength": rows.OWNER},
    "description": {"maxLength": rows.DESCRIPTION},
}


def schema() -> dict[str, Any]:
    """The schema: a map with a list of rows under `mappings`, with the columns that people fill in and no others."""
    named = (*KEYS, *COLUMNS)
    return {
        "$schema": DRAFT_7,
        "title": "Rolekeeper mappings",
        "description": "EC2 instances with this tag carry this role.",
        "type": "object",
        "properties": {
            "mappings": {
                "description": "One row of the mapping table each.",
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {column.name: _property(column) for column in named},
                    "required": [column.name for column in named if column.default == "required"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["mappings"],
        "additionalProperties": False,
    }


def text() -> str:
    return json.dumps(schema(), indent=2) + "\n"


def _property(column: Column) -> dict[str, Any]:
    default = "" if column.default == "required" else f" Default: {column.default}."
    found = {
        "description": f"{_sentence(MEANING[column.name])} Takes {column.kind.range}.{default}",
        "type": _TYPES[column.kind.type],
        **_ACCEPTS.get(column.name, {}),
    }
    # If the default is a value and not the absence of one, editors fill it in.
    value = getattr(_PLAIN, column.name, None)
    return {**found, "default": value} if isinstance(value, (bool, int, str)) and value != "" else found


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
    "not_accounts": "role=web not_accounts=123456789012",
    "regions": "role=web 'regions=eu-central-1;us-east-1'",
    "units": "role=web 'units=ou-a1b2-c3d4e5f6;ou-a1b2-d4e5f6a7/*'",
    "not_units": "role=web 'units=r-a1b2/*' not_units=ou-a1b2-c3d4e5f6",
    "rollout": "role=web 'rollout=1, 10%, 50%, 100% every 15m'",
    "halt_on": "role=web 'rollout=linear 10% every 5m' halt_on=web-errors",
    "halt_after": "role=web 'rollout=linear 10% every 5m' halt_after=2",
    "on_halt": "role=web 'rollout=linear 10% every 5m' halt_on=web-errors on_halt=rollback",
    "expires_at": "role=web expires_at=2030-01-31T18:00:00Z",
    "owner": "role=web owner=team-web",
    "description": "role=web 'description=the web servers'",
}


def column_names(*, keys: bool = True) -> Iterator[str]:
    """Every column's name, those that people fill in first; without `keys`, those that `mapping set` takes."""
    yield from (column.name for column in ((*KEYS, *COLUMNS, *PASSING) if keys else COLUMNS))
    if keys:
        yield from OURS


def choices(name: str) -> Sequence[str]:
    """The values of a column that takes only some; none if it takes others, or there is no such column."""
    flags = {column.name for column in COLUMNS if column.kind.type == "BOOL"}
    return ("true", "false") if name in flags else _ACCEPTS.get(name, {}).get("enum", ())


def column(name: str, nouns: Iterable[str]) -> ColumnView:
    """One column: what it means and takes, who writes it, and an example.

    CommandError if there is none, nor one of the `nouns`.
    """
    for written in (*KEYS, *COLUMNS, *PASSING):
        if written.name == name:
            return _filled_in(written)
    if name in OURS:
        return ColumnView(column=name, means=_sentence(MEANING[name]), written_by="Rolekeeper; leave it alone")
    listed = f"the columns are {', '.join(column_names())}; the nouns are {', '.join(nouns)}"
    meant = did_you_mean(name, [*nouns, *column_names()])
    raise CommandError(f"there is no column {name!r}", f"{meant} {listed}".lstrip())


def _filled_in(column: Column) -> ColumnView:
    example = "role=web" if column in KEYS else EXAMPLES.get(column.name)
    return ColumnView(
        column=column.name,
        means=_sentence(MEANING[column.name]),
        takes=column.kind.range,
        default=None if column.default == "required" else column.default,
        required=column.default == "required",
        type=TYPES[column.kind.type],
        written_by="you, or Rolekeeper's command" if column in PASSING else "you",
        example=f"rolekeeper mapping set workload=web {example}" if example else None,
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    sys.stdout.write(text())
