"""The JSON Schema (draft 7) of a file of mappings, made from the one definition of the columns.

Editors complete and check with it. It knows names, types and limits; look-alike letters, dates that don't exist and
roles that aren't there it can't know: the reader of rows and the publisher have the last word.
"""

import json
import sys
from typing import Any

from rolekeeper.mappings.rows.columns import COLUMNS, KEYS, Column
from rolekeeper.model.mapping import MappingKey, MappingSpec

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
# What a file writes for each of DynamoDB's types.
_TYPES = {"S": "string", "N": "integer", "BOOL": "boolean", "M": "object", "SS": "array"}
_PLAIN = MappingSpec(MappingKey("", ""), "")


def schema() -> dict[str, Any]:
    """The schema: a map with a list of rows under `mappings`, with the columns that people fill in and no others."""
    columns = (*KEYS, *COLUMNS)
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
                    "properties": {column.name: _property(column) for column in columns},
                    "required": [column.name for column in columns if column.default == "required"],
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
    default = "" if column.default == "required" else f" Default: {column.default}."
    said = {
        "description": f"{column.meaning[0].upper()}{column.meaning[1:]}. Takes {column.kind.range}.{default}",
        "type": _TYPES[column.kind.type],
        **column.kind.accepts,
    }
    # Where the default is a value and not the absence of one, editors fill it in.
    value = getattr(_PLAIN, column.name, None)
    return {**said, "default": value} if isinstance(value, (bool, int, str)) and value != "" else said


if __name__ == "__main__":
    sys.stdout.write(text())
