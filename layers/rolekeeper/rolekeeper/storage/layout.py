"""The items of the state table: where each is, and how the domain's values are stored in them.

Keys encode their parts unambiguously: a tag key may hold any separator, so its length is written before it. A value is
stored field by field, by its type hints. Items have the version of their format.
"""

import dataclasses
import hashlib
import types
import typing
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum
from functools import cache, partial
from operator import attrgetter
from typing import Any

from rolekeeper.model.instance import (
    AppliedChange,
    Condition,
    Decision,
    Grant,
    InstanceKey,
    InstanceRecord,
    Target,
    Timer,
)
from rolekeeper.model.mapping import NO_PIN, Held, MappingKey, Pin, PublishedMapping
from rolekeeper.model.text import escaped, unplain_at
from rolekeeper.model.waves import Progress

type Key = tuple[str, str]

CONTROL: Key = ("control", "control")
# What was last reported of the control item, with its history: IAM distinguishes partitions, but no sort keys.
CONTROL_REPORTED: Key = ("control-history", "reported")
DEPLOYED: Key = ("deployed", "deployed")
# What is counted over all mappings: changes by target, and edits. IAM distinguishes partitions, but no sort keys.
CHANGES = "window#changes"
EDITS: Key = ("window#edits", "window")
# The state table's stream invokes a function for new timers, but not for follow-ups: there is one for each change, so
# they are spread over partitions, of which DynamoDB takes 1,000 write units a second each ("Service quotas").
TIMERS, PIN, FOLLOW_UPS = "timers", "pin", ("follow-ups", "follow-ups#1", "follow-ups#2", "follow-ups#3")
TARGETS = "targets"  # the registry of all accounts and Regions that are swept
ROUNDS = TARGETS, "rounds"  # when the schedule's last rounds of their sweeps began
GOES_ON_UNTIL = "goes_on_until"  # there, of a target: while a sweep takes several runs
FLEET = "fleet"  # there, of the deployment's own target: how many instances all targets have
NOTIFIES = "notifies"  # there, of a target: true if its account asked for the events about its instances
LAST_SWEEP = "last_sweep"  # there, of a target: once a sweep of it ended since it was registered
# The outcome of a change in its history entry: it is about to be made, EC2 took it, EC2 refused it.
STARTED, DONE, REFUSED = "started", "done", "refused"
PUBLISHED_FOR = "published#"
INDEX = "mapping#index"  # the mappings that are published: no other partition names them all
APPROVALS = "approval#"
# The most that a history entry and an event name; an instance has 50 tags, so 100 mappings may lose.
LOSERS = 50
# How a held revision ended: only one of the two can be written.
OUTCOME, PUBLISHED, DISCARDED = "outcome", "published", "discarded"
SIGNERS = "signers"  # of a held revision: who wrote an approval of it
# DynamoDB "Service quotas": a sort key holds at most 1,024 bytes, a timer's time too; the longest tags don't fit.
SUBJECT_BYTES, PARTITION_KEY_BYTES = 900, 2_048
GRANT, CHANGE, CONDITION, WRITES, SWEPT = "grant:", "change:", "condition", "writes", "swept:"


def timestamp(at: datetime) -> str:
    """Write a time as UTC in ISO 8601 with microseconds, so that text order is time order."""
    # Not strftime: on Linux its %Y writes the year 999 with three digits, which can't be read back.
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def instance_pk(key: InstanceKey) -> str:
    """Name the partition of one instance: its record, its pin and its history."""
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
    """Name the partition of one mapping: what is published or held, its revisions and its history."""
    return f"mapping#{len(key.tag_key)}:{key.tag_key}#{key.tag_value}"


def mapping_of(pk: str) -> MappingKey:
    length, _, rest = pk.partition("#")[2].partition(":")
    return MappingKey(rest[: int(length)], rest[int(length) + 1 :])


def is_partition(pk: str) -> bool:
    """Return whether there can be such a partition: a row's key is longer than a tag, and lacks some characters.

    To ask for another is refused: by DynamoDB, or by a policy whose wildcard doesn't match it (AWS_FACTS.md "IAM").
    """
    return unplain_at(pk) is None and len(pk.encode()) <= PARTITION_KEY_BYTES


def published_key(key: MappingKey, account: str) -> Key:
    """Return the key of what is published for an account: each has profiles of its own."""
    return mapping_pk(key), f"{PUBLISHED_FOR}{account}"


def target_key(target: Target) -> Key:
    return TARGETS, f"target#{target.account}#{target.region}"


def unknown_key(target: Target) -> Key:
    """Return the key of a target that isn't registered, and whose events were dropped."""
    return TARGETS, f"unknown#{target.account}#{target.region}"


def changes_key(target: Target, *, quarantines: bool = False) -> Key:
    """Return the key of one target's window; detaches by mappings to `NONE` have one of their own."""
    return _counts_pk(target), "quarantines" if quarantines else "changes"


def pace_key(target: Target) -> Key:
    """Return the key of the pace of a target's changes: what is taken of it, and the line of those that wait."""
    return _counts_pk(target), "pace"


def _counts_pk(target: Target) -> str:
    # A partition of its own: DynamoDB takes 1,000 writes a second of one ("Service quotas").
    return f"{CHANGES}#{target.account}#{target.region}"


def sent_key(target: Target) -> Key:
    """Return the key of what a target's sweeps sent to the work queue and may still wait there."""
    return TARGETS, f"sent#{target.account}#{target.region}"


def activity_key(target: Target, at: datetime) -> Key:
    """Return the key of a target's hour: `swept:` and a minute count statuses, the other attributes changes."""
    return f"activity#{target.account}#{target.region}", timestamp(at)[:13]


def held_key(key: MappingKey) -> Key:
    return mapping_pk(key), "held"


def budget_key(key: MappingKey) -> Key:
    """Return the key of one mapping's approved changes, for the revision `credit_revision` (`credit_of`)."""
    return mapping_pk(key).replace("mapping", "window", 1), "window"


def rollout_key(key: MappingKey) -> Key:
    """Return the key of one mapping's rollout: how far the last revision in waves has come."""
    return budget_key(key)[0], "rollout"


def rollout_item(key: MappingKey, progress: Progress) -> "Item":
    """Encode a rollout; what moves count of a revision has its own attributes, as `credit_of` has."""
    counted = {f"{name}:{progress.revision}": getattr(progress, name) for name in ("moved", "failed")}
    return {**key_attributes(rollout_key(key)), **encode(progress), **counted}


def rollout_from(item: Mapping[str, Any]) -> Progress:
    counted = {name: item.get(f"{name}:{item['revision']}", 0) for name in ("moved", "failed")}
    return decode(Progress, {**item, **counted})


def credit_of(revision: int) -> str:
    """Return the attribute that says what is left of a revision's budget.

    Each has its own: a change that EC2 refuses gives back what it took, also once another revision is approved.
    """
    return f"credit:{revision}"


def described(decision: Decision) -> dict[str, Any]:
    """Describe a decision in a history entry, and in an event."""
    return {
        "action": decision.action.value,
        "code": decision.code,
        "reason": decision.reason,
        "mapping": str(decision.mapping) if decision.mapping else "",
        "revision": decision.revision,
        "role": decision.role,
        "profile-arn": decision.profile_arn,
        "takes-over": decision.takes_over,
        "losers": [{"mapping": str(loser.mapping), "why": loser.why} for loser in decision.overridden[:LOSERS]],
    }


def history_key(pk: str, at: datetime, id_: str) -> Key:
    return pk, f"history#{timestamp(at)}#{id_}"


def revision_sk(revision: int) -> str:
    return f"revision#{revision:08d}"  # text order is number order


def timer_key(timer: Timer) -> Key:
    """Return a timer's key: timers are in one partition, follow-ups in others, in the order in which they ring."""
    subject = timer.subject
    name = instance_pk(subject) if isinstance(subject, InstanceKey) else mapping_pk(subject)
    partition = FOLLOW_UPS[zlib.crc32(name.encode()) % len(FOLLOW_UPS)] if timer.follows else TIMERS
    return partition, f"{timestamp(timer.due)}#{_short(name)}"


def approval_key(by: str, key: MappingKey) -> Key:
    """Return an approval's key: only this aws:userid may write into the partition (the state table's policy)."""
    return f"{APPROVALS}{by}#{key.tag_key}", key.tag_value


def approval_of(key: Key) -> tuple[str, MappingKey]:
    """Return whose approval an item is, and of which mapping; a userid holds no #."""
    by, _, tag_key = key[0].removeprefix(APPROVALS).partition("#")
    return by, MappingKey(tag_key, key[1])


def finding_key(run: str, account: str) -> Key:
    """Return the key of an account's answer while a row is assessed; `run` identifies the row and the question."""
    return f"judging#{run}", account


def batch_pk(batch: str) -> str:
    """Return the partition of a batch of rows about which accounts are asked together."""
    return f"judging#batch-{batch}"


def _short(name: str) -> str:
    encoded = name.encode("utf-8", "surrogatepass")
    return name if len(encoded) <= SUBJECT_BYTES else hashlib.sha256(encoded).hexdigest()


def key_attributes(key: Key) -> dict[str, Any]:
    return {"pk": key[0], "sk": key[1]}


def grant_name(profile_arn: str) -> str:
    """Name the attribute of a grant: one for each profile, so that two writers never undo each other's."""
    return GRANT + profile_arn


def change_name(applied: AppliedChange) -> str:
    return CHANGE + timestamp(applied.at)


# ---- values ----

type Item = dict[str, Any]

VERSION = 2  # of the format, in each record and each mapping that is published or held
# Up to 38 significant digits, and nothing that is rounded (DynamoDB developer guide, "Data types").
_number = Context(prec=38, traps=[Inexact, InvalidOperation]).create_decimal


def attribute(value: Any) -> dict[str, Any]:
    """Convert a plain value to DynamoDB's; TypeError or a decimal's ArithmeticError for one that it doesn't know."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int() | Decimal():
            return {"N": str(_number(value))}
        case str():
            return {"S": value}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": to_attributes(value)}
        case list() | tuple():
            return {"L": [attribute(member) for member in value]}
        case set() | frozenset():
            members = [pair for member in value for pair in attribute(member).items()]
            kinds = {kind for kind, _ in members}
            if len(kinds) == 1 and kinds < {"S", "N", "B"}:
                return {f"{kinds.pop()}S": [text for _, text in members]}
    raise TypeError(f"DynamoDB has no value like {value!r:.40}")


def plain(stored: Mapping[str, Any]) -> Any:
    """Convert a value of DynamoDB's to a plain one: numbers to Decimal, sets to sets."""
    ((kind, value),) = stored.items()
    match kind:
        case "S" | "B" | "BOOL":
            return value
        case "N":
            return _number(value)
        case "NULL":
            return None
        case "M":
            return from_attributes(value)
        case "L":
            return [plain(member) for member in value]
        case "SS" | "BS":
            return set(value)
        case "NS":
            return set(map(_number, value))
    raise TypeError(f"{kind!r:.40} is no type of DynamoDB's")


# Nearly all values are texts, so these two don't look further at one.
def to_attributes(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"S": value} if type(value) is str else attribute(value) for name, value in item.items()}


def from_attributes(attributes: Mapping[str, Any]) -> Item:
    return {name: value["S"] if "S" in value else plain(value) for name, value in attributes.items()}


def encode(value: Any) -> Any:
    """Encode a value for DynamoDB: a dataclass as a map, without its fields that aren't set."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: part if type(part) is str else encode(part) for name, part in named.items() if part is not None}
    match value:
        case StrEnum():
            return value.value
        case datetime():
            return timestamp(value)
        case Mapping():
            return {name: encode(member) for name, member in value.items()}
        case frozenset():
            return sorted(value)
    return value


def decode[T](kind: type[T], item: Mapping[str, Any]) -> T:
    """Read what `encode` wrote, absent fields by their defaults; else raise a KeyError, a TypeError or a ValueError."""
    fields = _fields(kind)  # type: ignore[arg-type]  # a class is hashable
    found = ((name, hint, read, item[name]) for name, hint, read in fields if name in item)
    return kind(**{name: value if type(value) is hint else read(value) for name, hint, read, value in found})


@cache
def _fields(kind: type) -> list[tuple[str, Any, Any]]:
    return [(name, hint, _reader(hint)) for name, hint in typing.get_type_hints(kind).items()]


@cache
def _reader(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # The only unions are with None.
        (inner,) = (_reader(argument) for argument in arguments if argument is not types.NoneType)
        return lambda value: None if value is None else inner(value)
    if origin in (frozenset, list, tuple):  # a tuple of any length, of one kind
        member = _reader(arguments[0])
        return lambda value: origin(map(member, _list(value)))
    if origin is not None and issubclass(origin, Mapping):
        member = _reader(arguments[1])
        return lambda value: {_text(name): member(part) for name, part in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return partial(decode, hint)
    return {datetime: datetime.fromisoformat, bool: _boolean, str: _text}.get(hint, hint)  # an enum reads itself


def _checked(kind: type, name: str, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is no {name}")
    return value


_text, _list = partial(_checked, str, "text"), partial(_checked, list, "list")
_boolean = partial(_checked, bool, "Boolean")


def record_from(item: Mapping[str, Any]) -> InstanceRecord:
    grants = [decode(Grant, value) for name, value in item.items() if name.startswith(GRANT)]
    changes = [decode(AppliedChange, value) for name, value in item.items() if name.startswith(CHANGE)]
    shown = item.get(CONDITION)
    return InstanceRecord(
        grants={grant.profile_arn: grant for grant in grants},
        condition=decode(Condition, shown) if shown else None,
        changes=tuple(sorted(changes, key=attrgetter("at"))),
        pin=decode(Pin, item[PIN]) if PIN in item else NO_PIN,
        writes=int(item.get(WRITES, 0)),
    )


def published_item(mapping: PublishedMapping, account: str) -> Item:
    return {**key_attributes(published_key(mapping.key, account)), **mapping_attributes(mapping)}


def mapping_attributes(mapping: PublishedMapping) -> Item:
    """Encode a mapping for an item, whatever its key."""
    return {"version": VERSION, **encode(mapping)}


published_from = partial(decode, PublishedMapping)


def held_item(held: Held) -> Item:
    """Encode a held revision as its mapping would be published, with its own key and who wrote it."""
    key = key_attributes(held_key(held.mapping.key))
    about = {name: value for name, value in encode(held).items() if name not in ("mapping", OUTCOME, SIGNERS)}
    return {**key, **mapping_attributes(held.mapping), **about, "by": escaped(held.by)}


def held_from(item: Mapping[str, Any]) -> Held:
    return decode(Held, {**item, "mapping": item, SIGNERS: sorted(item.get(SIGNERS, ()))})


def index_item(mapping: PublishedMapping, at: datetime) -> Item:
    """Return the index's item of a published mapping; that of a tombstone expires."""
    pk = mapping_pk(mapping.key)
    gone = {"deleted": True, "expires": int(at.timestamp())} if mapping.deleted else {}
    return {**key_attributes((INDEX, _short(pk))), "mapping": pk, **gone}


def budget_item(mapping: PublishedMapping, credit: int) -> Item:
    granted = {credit_of(mapping.revision): credit, "credit_revision": mapping.revision}
    return key_attributes(budget_key(mapping.key)) | granted


def timer_item(timer: Timer) -> Item:
    kind = "instance" if isinstance(timer.subject, InstanceKey) else "mapping"
    key = key_attributes(timer_key(timer))
    did = {"did": timer.did} if timer.did else {}
    return {**key, "due": timestamp(timer.due), kind: encode(timer.subject), **did}


def timer_from(item: Mapping[str, Any]) -> Timer:
    subject = decode(InstanceKey, item["instance"]) if "instance" in item else decode(MappingKey, item["mapping"])
    return Timer(datetime.fromisoformat(item["due"]), subject, item["pk"] in FOLLOW_UPS, did=item.get("did", ""))
