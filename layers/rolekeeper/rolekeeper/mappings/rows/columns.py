"""The columns of the mapping table: the one definition, from which rows are read, and the schema is made. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rolekeeper.mappings.rows import cells, names
from rolekeeper.model.mapping import WhenOccupied, WhenStopped, WhenUnmatched

type Attributes = Mapping[str, Any]
"""A low-level DynamoDB item: attribute name to a value under its type, as `{"role": {"S": "web"}}`."""

# Written by Rolekeeper only. A row is the same row whatever they say.
OURS = ("status", "status_reason", "status_revision", "matched", "occupied", "held_revision")

# Elastic Load Balancing, "Listener rules": the priorities that people know.
PRIORITIES = (1, 50_000)
# A published mapping has to fit into one item (400 KB) with room to spare.
ACCOUNTS, REGIONS, OWNER, DESCRIPTION, EDITOR, USER_ID = 1_000, 100, 256, 1024, 1024, 256
# As both Python and JSON Schema read them: no \d, which means more in Python.
ACCOUNT, ACCOUNT_IDS = "[0-9]{12}", "account ids of 12 digits"
REGION, REGION_CODES = "[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", "Region codes, as us-east-1"
# Words of former versions, each with the reason.
GONE = {"restore": "a foreign role can't be put back"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column that people fill in, with its default in words: `required` has none."""

    name: str
    default: str
    kind: cells.Kind


KEYS = (Column("tag_key", "required", names.TAG_KEY), Column("tag_value", "required", names.TAG_VALUE))

COLUMNS = (
    Column("role", "required", names.ROLE),
    Column("instance_profile", "the role's name", names.PROFILE),
    Column("priority", "100", cells.whole(*PRIORITIES, "a whole number from {} to {}".format(*PRIORITIES), ask="use")),
    Column("enabled", "true", cells.FLAG),
    Column("when_occupied", WhenOccupied.KEEP.value, cells.choice(WhenOccupied)),
    Column("when_unmatched", WhenUnmatched.DETACH.value, cells.choice(WhenUnmatched, gone=GONE)),
    Column("when_stopped", WhenStopped.WAIT.value, cells.choice(WhenStopped)),
    Column("allow_broad", "false", cells.FLAG),
    Column("require_tags", "none", names.TAGS),
    Column("accounts", "all", cells.text_set(ACCOUNT, ACCOUNTS, ACCOUNT_IDS, hint=", leading zeros included")),
    Column("regions", "all", cells.text_set(REGION, REGIONS, REGION_CODES)),
    Column("expires_at", "never", cells.INSTANT),
    Column("owner", "none", cells.text(OWNER)),
    Column("description", "none", cells.text(DESCRIPTION)),
)

# What people ask beside the mapping itself: taken out of the row once it is done. A malformed one is warned about and
# never keeps a row from being read. `approve` has room for more revisions than thirty years of edits every second.
ASKS = (
    Column("approve", "none", cells.whole(1, 10**9, "the number that held_revision shows", ask="write")),
    Column("approved_by", "none", cells.text(USER_ID)),
    Column("discard", "none", cells.whole(1, 10**9, "the number that held_revision shows", ask="write")),
    Column("edited_by", "none", cells.text(EDITOR)),
)
