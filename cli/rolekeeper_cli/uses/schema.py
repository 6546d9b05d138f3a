"""The JSON Schema (draft 7) of a file of mappings, made from the one definition of the columns.

Editors complete and check with it. It knows names, types and limits; look-alike letters, dates that don't exist and
roles that aren't there it can't know: the reader of rows and the publisher have the last word.
"""

import json
import sys
from typing import Any

from rolekeeper.mappings.rows import cells, columns
from rolekeeper.mappings.rows.columns import COLUMNS, KEYS, Column
from rolekeeper.model.mapping import (
    NO_ROLE,
    RESERVED,
    MappingKey,
    MappingSpec,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)

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
_NAME = f"(?!{_NO_ROLE_BUT_FOR_CASE}$){columns.NAME}"
# What each column is for.
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
    "regions": "the Regions in which the mapping matches",
    "units": "the organizational units, by id, in whose accounts the mapping matches; name nested ones too",
    "expires_at": "after it the mapping no longer matches",
    "owner": "who answers for the row",
    "description": "what it is for",
}
# What the reader of each column takes, as far as a schema can say it.
_ACCEPTS = {
    "tag_key": _pattern(f"(?!{RESERVED}){_TEXT}", columns.LONGEST_KEY),
    "tag_value": _pattern(_TEXT, columns.LONGEST_VALUE),
    "role": _pattern(f"({NO_ROLE}|{_NAME})", columns.LONGEST_ROLE),
    "instance_profile": _pattern(_NAME, columns.LONGEST_PROFILE),
    "priority": {"minimum": columns.PRIORITIES[0], "maximum": columns.PRIORITIES[1]},
    "when_occupied": {"enum": [*WhenOccupied]},
    "when_unmatched": {"enum": [*WhenUnmatched]},
    "when_stopped": {"enum": [*WhenStopped]},
    "require_tags": {
        "maxProperties": columns.MOST_TAGS,
        "propertyNames": _pattern(_TEXT, columns.LONGEST_KEY),
        "additionalProperties": {"type": "string", **_pattern(f"({_TEXT})?", columns.LONGEST_VALUE)},
    },
    "accounts": _set(columns.ACCOUNT, columns.ACCOUNTS),
    "regions": _set(columns.REGION, columns.REGIONS),
    "units": _set(columns.UNIT, columns.UNITS),
    "expires_at": {"pattern": f"^{cells.DATE}{cells.TIME}{cells.ZONE}$"},
    "owner": {"maxLength": columns.OWNER},
    "description": {"maxLength": columns.DESCRIPTION},
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
    """The schema as a file."""
    return json.dumps(schema(), indent=2) + "\n"


def _property(column: Column) -> dict[str, Any]:
    meaning, default = MEANING[column.name], "" if column.default == "required" else f" Default: {column.default}."
    said = {
        "description": f"{meaning[0].upper()}{meaning[1:]}. Takes {column.kind.range}.{default}",
        "type": _TYPES[column.kind.type],
        **_ACCEPTS.get(column.name, {}),
    }
    # Where the default is a value and not the absence of one, editors fill it in.
    value = getattr(_PLAIN, column.name, None)
    return {**said, "default": value} if isinstance(value, (bool, int, str)) and value != "" else said


if __name__ == "__main__":
    sys.stdout.write(text())
