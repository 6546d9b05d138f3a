"""Where each item of the state table is: partitions, sort keys, and the names of attributes that several writers share.

Keys encode their parts unambiguously: a tag key may hold any separator, so its length is written before it.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any

from rolekeeper.model import unplain_at
from rolekeeper.model.instance import AppliedChange, InstanceKey, Target, Timer
from rolekeeper.model.mapping import MappingKey

type Key = tuple[str, str]

CONTROL: Key = ("control", "control")
# What was last reported of the control item, with its history: IAM distinguishes partitions, but no sort keys.
CONTROL_REPORTED: Key = ("control-history", "reported")
FLEET: Key = ("fleet", "fleet")
ELSEWHERE = "elsewhere"  # there, of a hub: how many instances other targets have
GOES_ON_UNTIL = "goes_on_until"  # there, while a sweep takes several runs
DEPLOYED: Key = ("deployed", "deployed")
# What is counted over all mappings: changes by target, and edits. IAM distinguishes partitions, but no sort keys.
CHANGES = "window#changes"
EDITS: Key = ("window#edits", "window")
# The state table's stream invokes a function for new timers, but not for follow-ups: there is one for each change.
TIMERS, FOLLOW_UPS, PIN = "timers", "follow-ups", "pin"
TARGETS = "targets"  # the other accounts and Regions of a hub
LAST_SWEEP = "last_sweep"  # there, of a target: once a sweep of it ended since it was registered
# The outcome of a change in its history entry: it is about to be made, EC2 took it, EC2 refused it.
STARTED, DONE, REFUSED = "started", "done", "refused"
PUBLISHED_FOR = "published#"
# How a held revision ended: only one of the two can be written.
OUTCOME, PUBLISHED, DISCARDED = "outcome", "published", "discarded"
# DynamoDB "Service quotas": a sort key holds at most 1,024 bytes, a timer's time too; the longest tags don't fit.
SUBJECT_BYTES, PARTITION_KEY_BYTES = 900, 2_048
GRANT, CHANGE, CONDITION, WRITES = "grant:", "change:", "condition", "writes"


def timestamp(at: datetime) -> str:
    """UTC in ISO 8601 with microseconds, so that text order is time order."""
    # Not strftime: on Linux its %Y writes the year 999 with three digits, which can't be read back.
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def instance_pk(key: InstanceKey) -> str:
    """The partition of one instance: its record, its pin and its history."""
    return f"instance#{key.account}#{key.region}#{key.id}"


def instance_key_from(pk: str) -> InstanceKey | None:
    match pk.split("#"):
        case ["instance", account, region, id_] if account and region and id_:
            return InstanceKey(account, region, id_)
    return None


def record_key(key: InstanceKey) -> Key:
    return instance_pk(key), "record"


def pin_key(key: InstanceKey) -> Key:
    return instance_pk(key), PIN


def mapping_pk(key: MappingKey) -> str:
    """The partition of one mapping: what is published or held, its revisions and its history."""
    return f"mapping#{len(key.tag_key)}:{key.tag_key}#{key.tag_value}"


def mapping_of(pk: str) -> MappingKey:
    length, _, rest = pk.partition("#")[2].partition(":")
    return MappingKey(rest[: int(length)], rest[int(length) + 1 :])


def is_partition(pk: str) -> bool:
    """Whether there can be such a partition. No tag is as long as a row's key may be, and no key has every character.

    To ask for another is refused: by DynamoDB, or by a policy whose wildcard doesn't match it (AWS_FACTS.md "IAM").
    """
    return unplain_at(pk) is None and len(pk.encode()) <= PARTITION_KEY_BYTES


def published_key(key: MappingKey, account: str) -> Key:
    """What is published for an account: each has profiles of its own."""
    return mapping_pk(key), f"{PUBLISHED_FOR}{account}"


def target_key(target: Target) -> Key:
    return TARGETS, f"target#{target.account}#{target.region}"


def unknown_key(target: Target) -> Key:
    """A target that isn't registered, and that sent events which were dropped."""
    return TARGETS, f"unknown#{target.account}#{target.region}"


def changes_key(target: Target, *, quarantines: bool = False) -> Key:
    """What is counted of one target's changes: its window; detaches by mappings to `NONE` have one of their own."""
    return CHANGES, f"{'quarantines' if quarantines else 'changes'}#{target.account}#{target.region}"


def line_key(target: Target) -> Key:
    """When a target's line of changes that wait for the pace ends."""
    return CHANGES, f"line#{target.account}#{target.region}"


def window_keys(target: Target, size: Key) -> tuple[Key, ...]:
    """What says whether there is room for a target's changes, apart from approvals; `size` counts its instances."""
    return changes_key(target), changes_key(target, quarantines=True), line_key(target), size


def held_key(key: MappingKey) -> Key:
    return mapping_pk(key), "held"


def budget_key(key: MappingKey) -> Key:
    """What was approved of one mapping's changes: `credit` is left of it, for the revision `credit_revision`."""
    return mapping_pk(key).replace("mapping", "window", 1), "window"


def history_key(pk: str, at: datetime, id_: str) -> Key:
    return pk, f"history#{timestamp(at)}#{id_}"


def revision_sk(revision: int) -> str:
    return f"revision#{revision:08d}"  # text order is number order


def timer_key(timer: Timer) -> Key:
    """Timers are in one partition and follow-ups in another, each in the order in which they ring."""
    subject = timer.subject
    name = instance_pk(subject) if isinstance(subject, InstanceKey) else mapping_pk(subject)
    return FOLLOW_UPS if timer.follows else TIMERS, f"{timestamp(timer.due)}#{_short(name)}"


def approval_key(by: str, key: MappingKey, revision: int) -> Key:
    """Only who has this aws:userid may write into this partition (template.yaml, the state table's policy)."""
    return f"approval#{by}", f"{_short(mapping_pk(key))}#{revision}"


def _short(name: str) -> str:
    encoded = name.encode("utf-8", "surrogatepass")
    return name if len(encoded) <= SUBJECT_BYTES else hashlib.sha256(encoded).hexdigest()


def key_attributes(key: Key) -> dict[str, Any]:
    return {"pk": key[0], "sk": key[1]}


def grant_name(profile_arn: str) -> str:
    """The attribute that holds a grant: one for each profile, so that two writers never undo each other's."""
    return GRANT + profile_arn


def change_name(applied: AppliedChange) -> str:
    return CHANGE + timestamp(applied.at)
