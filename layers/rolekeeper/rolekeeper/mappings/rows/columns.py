"""The columns of the mapping table: the one definition, from which rows are read and explained. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper.mappings.rows import cells, names
from rolekeeper.model.mapping import NO_ROLE, WhenOccupied, WhenStopped, WhenUnmatched

type Attributes = Mapping[str, Any]
"""A low-level DynamoDB item: attribute name to a value under its type, as `{"role": {"S": "web"}}`."""

# Written by Rolekeeper only. A row is the same row whatever they say.
OURS = ("status", "status_reason", "status_revision", "matched", "occupied", "held_revision")

# Elastic Load Balancing, "Listener rules": the priorities that people know.
PRIORITIES = (1, 50_000)
# A published mapping has to fit into one item (400 KB) with room to spare.
ACCOUNTS, REGIONS, OWNER, DESCRIPTION, EDITOR = 1_000, 100, 256, 1024, 1024
# As both Python and JSON Schema read them: no \d, which means more in Python.
ACCOUNT = "[0-9]{12}"
REGION_CODES = "Region codes, as us-east-1"
REGION = "[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column that people fill in, with its default in words: `required` has none."""

    name: str
    default: str
    meaning: str
    kind: cells.Kind


KEYS = (
    Column("tag_key", "required", "the tag's key, as instances carry it", names.TAG_KEY),
    Column("tag_value", "required", "the tag's value; * for any value", names.TAG_VALUE),
)

COLUMNS = (
    Column(
        "role",
        "required",
        f"the role that these instances carry, by name, under the role path; {NO_ROLE}: they carry no role",
        names.ROLE,
    ),
    Column("instance_profile", "the role's name", "the profile that holds the role, if named otherwise", names.PROFILE),
    Column(
        "priority",
        "100",
        "the lowest number wins; different roles of the same number are a conflict",
        cells.whole(*PRIORITIES, "a whole number from {} to {}".format(*PRIORITIES), ask="use"),
    ),
    Column("enabled", "true", "whether the row matches at all; false: it is checked and matches nothing", cells.FLAG),
    Column(
        "when_occupied",
        WhenOccupied.KEEP.value,
        "what to do with a foreign role, one outside the role path; replace also needs the stack's TakeOver",
        cells.choice(WhenOccupied),
    ),
    Column(
        "when_unmatched",
        WhenUnmatched.DETACH.value,
        "what to do with the role that the mapping gave when the tag goes",
        cells.choice(WhenUnmatched, gone={"restore": "a foreign role can't be put back"}),
    ),
    Column(
        "when_stopped",
        WhenStopped.WAIT.value,
        "how a role is replaced on a stopped instance: wait until it runs, or detach and attach",
        cells.choice(WhenStopped),
    ),
    Column("require_tags", "none", "further tags that an instance must carry too", names.TAGS),
    Column(
        "accounts",
        "all",
        "the accounts in which the mapping matches",
        cells.text_set(ACCOUNT, ACCOUNTS, "account ids of 12 digits", hint=", leading zeros included"),
    ),
    Column("regions", "all", "the Regions in which the mapping matches", cells.text_set(REGION, REGIONS, REGION_CODES)),
    Column("expires_at", "never", "after it the mapping no longer matches", cells.INSTANT),
    Column("owner", "none", "who answers for the row", cells.text(OWNER)),
    Column("description", "none", "what it is for", cells.text(DESCRIPTION)),
)

# What people ask beside the mapping itself: taken out of the row once it is done. A malformed one is warned about and
# never keeps a row from being read.
ASKS = (
    Column(
        "approve",
        "none",
        "publish the edit that is held, although it changes many instances",
        # More revisions than a mapping edited every second for thirty years has.
        cells.whole(1, 10**9, "the number that held_revision shows", ask="write"),
    ),
    Column("edited_by", "none", "who made this edit", cells.text(EDITOR)),
)
