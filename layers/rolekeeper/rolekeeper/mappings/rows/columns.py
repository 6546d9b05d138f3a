"""The columns of the mapping table: the one definition, from which rows are read and explained. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper.mappings.rows.cells import (
    ACCOUNT,
    ACCOUNTS,
    DATE,
    DESCRIPTION,
    EDITOR,
    OWNER,
    PRIORITIES,
    REGION,
    REGIONS,
    REVISIONS,
    TAG_KEY,
    TAG_VALUE,
    TAGS,
    TIME,
    ZONE,
    Cell,
    CellError,
    choice_reader,
    read_approval,
    read_boolean,
    read_instant,
    read_priority,
    read_tag_key,
    read_tag_value,
    read_tags,
    read_when_unmatched,
    text_reader,
    text_set_reader,
    wrong_type,
)
from rolekeeper.mappings.rows.names import NAME, PROFILE_NAME, ROLE_NAME, read_profile, read_role
from rolekeeper.model import NO_ROLE, RESERVED, WhenOccupied, WhenStopped, WhenUnmatched

type Attributes = Mapping[str, Any]
"""A low-level DynamoDB item: attribute name to a value under its type, as `{"role": {"S": "web"}}`."""

# Written by Rolekeeper only. A row is the same row whatever they say.
OURS = ("status", "status_reason", "status_revision", "matched", "occupied", "held_revision")

# `none` for NONE is a slip that the readers name.
_NO_ROLE_BUT_FOR_CASE = "".join(f"[{each.upper()}{each.lower()}]" for each in NO_ROLE)
_NO_BLANK_AT_ITS_ENDS = r"\S(.*\S)?"


@dataclass(frozen=True, slots=True)
class Column:
    """One column that people fill in. `type` is DynamoDB's; `default` and `range` are words for people.

    `accepts` are the same limits as `read` keeps, in the keywords of JSON Schema.
    """

    name: str
    type: str
    default: str
    range: str
    meaning: str
    read: Callable[[Cell], Any]
    accepts: Mapping[str, Any]
    tolerates: tuple[str, ...] = ()

    def value(self, cell: Cell) -> Any:
        """Read a cell of this column.

        Raises:
            CellError: it can't be read.
        """
        if cell.type != self.type and cell.type not in self.tolerates:
            raise CellError(wrong_type(self.type, cell, self.range))
        return self.read(cell)


KEYS = (
    Column(
        "tag_key",
        "S",
        "required",
        f"1 to {TAG_KEY} characters",
        "the tag's key, as instances carry it",
        read_tag_key,
        {"pattern": f"^(?!{RESERVED}){_NO_BLANK_AT_ITS_ENDS}$", "maxLength": TAG_KEY},
    ),
    Column(
        "tag_value",
        "S",
        "required",
        f"1 to {TAG_VALUE} characters, or *",
        "the tag's value; * for any value",
        read_tag_value,
        {"pattern": f"^{_NO_BLANK_AT_ITS_ENDS}$", "maxLength": TAG_VALUE},
    ),
)

COLUMNS = (
    Column(
        "role",
        "S",
        "required",
        f"an IAM role's name of up to {ROLE_NAME} characters, or {NO_ROLE}",
        f"the role that these instances carry, by name, under the role path; {NO_ROLE}: they carry no role",
        read_role,
        {"pattern": f"^({NO_ROLE}|(?!{_NO_ROLE_BUT_FOR_CASE}$){NAME})$", "maxLength": ROLE_NAME},
    ),
    Column(
        "instance_profile",
        "S",
        "the role's name",
        f"an instance profile's name of up to {PROFILE_NAME} characters",
        "the instance profile that holds the role, when it is named otherwise",
        read_profile,
        {"pattern": f"^(?!{_NO_ROLE_BUT_FOR_CASE}$){NAME}$", "maxLength": PROFILE_NAME},
    ),
    Column(
        "priority",
        "N",
        "100",
        f"a whole number from {PRIORITIES[0]} to {PRIORITIES[1]}",
        "the lowest number wins; different roles of the same number are a conflict",
        read_priority,
        {"minimum": PRIORITIES[0], "maximum": PRIORITIES[1]},
        tolerates=("S",),
    ),
    Column(
        "enabled",
        "BOOL",
        "true",
        "true or false",
        "whether the row matches at all; false: it is checked and matches nothing",
        read_boolean,
        {},
    ),
    Column(
        "when_occupied",
        "S",
        WhenOccupied.KEEP.value,
        " or ".join(WhenOccupied),
        "what to do with a foreign role, one outside the role path; replace also needs the stack's TakeOver",
        choice_reader(WhenOccupied),
        {"enum": [*WhenOccupied]},
    ),
    Column(
        "when_unmatched",
        "S",
        WhenUnmatched.DETACH.value,
        " or ".join(WhenUnmatched),
        "what to do with the role that the mapping gave when the tag goes",
        read_when_unmatched,
        {"enum": [*WhenUnmatched]},
    ),
    Column(
        "when_stopped",
        "S",
        WhenStopped.WAIT.value,
        " or ".join(WhenStopped),
        "how a role is replaced on a stopped instance: wait until it runs, or detach and attach",
        choice_reader(WhenStopped),
        {"enum": [*WhenStopped]},
    ),
    Column(
        "require_tags",
        "M",
        "none",
        f"at most {TAGS} tags, key to value (String); * for any value",
        "further tags that an instance must carry too",
        read_tags,
        {
            "maxProperties": TAGS,
            "propertyNames": {"pattern": f"^{_NO_BLANK_AT_ITS_ENDS}$", "maxLength": TAG_KEY},
            "additionalProperties": {
                "type": "string",
                "pattern": f"^({_NO_BLANK_AT_ITS_ENDS})?$",
                "maxLength": TAG_VALUE,
            },
        },
    ),
    Column(
        "accounts",
        "SS",
        "all",
        f"account ids of 12 digits, at most {ACCOUNTS:,}",
        "the accounts in which the mapping matches",
        text_set_reader(ACCOUNT, ACCOUNTS, "write account ids of 12 digits, leading zeros included"),
        {"items": {"type": "string", "pattern": f"^{ACCOUNT}$"}, "minItems": 1, "maxItems": ACCOUNTS},
    ),
    Column(
        "regions",
        "SS",
        "all",
        f"Region codes, as us-east-1, at most {REGIONS}",
        "the Regions in which the mapping matches",
        text_set_reader(REGION, REGIONS, "write Region codes, as us-east-1"),
        {"items": {"type": "string", "pattern": f"^{REGION}$"}, "minItems": 1, "maxItems": REGIONS},
    ),
    Column(
        "expires_at",
        "S",
        "never",
        "ISO 8601 with a time zone, as 2026-12-31T18:00:00Z",
        "after it the mapping no longer matches",
        read_instant,
        {"pattern": f"^{DATE}{TIME}{ZONE}$"},
    ),
    Column(
        "owner",
        "S",
        "none",
        f"up to {OWNER} characters",
        "who answers for the row",
        text_reader(OWNER),
        {"maxLength": OWNER},
    ),
    Column(
        "description",
        "S",
        "none",
        f"up to {DESCRIPTION:,} characters",
        "what it is for",
        text_reader(DESCRIPTION),
        {"maxLength": DESCRIPTION},
    ),
)

# What people ask of Rolekeeper beside the mapping itself: taken out of the row once it is done, and no part of what the
# mapping says. A malformed one is warned about and never keeps a row from being read.
ASKS = (
    Column(
        "approve",
        "N",
        "none",
        "the number that held_revision shows",
        "publish the edit that is held, although it changes many instances",
        read_approval,
        {"minimum": REVISIONS[0], "maximum": REVISIONS[1]},
        tolerates=("S",),
    ),
    Column(
        "edited_by",
        "S",
        "none",
        f"up to {EDITOR:,} characters",
        "who made this edit",
        text_reader(EDITOR),
        {"maxLength": EDITOR},
    ),
)
