"""Rows of the mapping table: the one definition of their columns, and how a row is read and written. Pure.

First the kinds of cells, each with its reader. Then the names that people write, of tags, IAM roles and instance
profiles, where a text misleads easily: a tag is matched character by character, so a row that merely looks right
governs nothing, and nobody sees why. The idea of mixed scripts is of Unicode TS 39. Last, whole rows.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from enum import StrEnum
from itertools import groupby
from os.path import commonprefix
from typing import Any

from rolekeeper.model.mapping import (
    ANY_VALUE,
    BELOW,
    NO_ROLE,
    RESERVED,
    MappingKey,
    MappingSpec,
    OnHalt,
    PublishedMapping,
    WhenOccupied,
    WhenStopped,
    WhenUnmatched,
)
from rolekeeper.model.problem import Problem
from rolekeeper.model.text import cut, escaped, in_words, unplain_at
from rolekeeper.model.waves import Waves

_NAMES = {"S": "String", "N": "Number", "BOOL": "Boolean", "M": "Map", "L": "List", "B": "Binary", "NULL": "Null"}
_NAMES |= {"SS": "String set", "NS": "Number set", "BS": "Binary set"}
TYPES = {code: f"{name} ({code})" for code, name in _NAMES.items()}


class CellError(Exception):
    """A cell can't be read: what is wrong with it, and what to write instead."""


@dataclass(frozen=True, slots=True)
class HomeAccount:
    """Where Rolekeeper runs, to tell the ARNs of other accounts from our own."""

    account: str
    partition: str = "aws"


_QUOTED = 60  # characters of a person's text, at most, that a reason repeats


def quote(text: str) -> str:
    """Return a piece of text, cut to a readable length, with the unprintable made visible."""
    return f"'{escaped(text[:_QUOTED])}{'…' if len(text) > _QUOTED else ''}'"


def quote_plain(text: str) -> str:
    """Quote a text that belongs in plain letters: the first other character is named, as it may mislead."""
    for position, character in enumerate(text, 1):
        if not character.isascii():
            return f"{quote(text)}, with {name_of(character)} at position {position}"
    return quote(text)


def name_of(character: str) -> str:
    """Name a character as `ZERO WIDTH SPACE (U+200B)`; control characters have no name."""
    name, number = unicodedata.name(character, ""), f"U+{ord(character):04X}"
    return f"{name} ({number})" if name else number


def check_length(text: str, limit: int, whose: str) -> str:
    if len(text) > limit:
        raise CellError(f"is {len(text):,} characters long; {whose} at most {limit:,}: {quote(text)}")
    return text


@dataclass(frozen=True, slots=True)
class Kind:
    """What a column takes: a DynamoDB type, and of its values those in `range`, in words."""

    type: str
    range: str
    reader: Callable[[Any, HomeAccount], Any]

    def read(self, attribute: Any, home: HomeAccount) -> Any:
        """Return what a low-level attribute value says, which has one type, or a `CellError`."""
        if not isinstance(attribute, Mapping) or len(attribute) != 1:
            raise CellError(f"can't be read: {quote(str(attribute))} is no DynamoDB value")
        ((found, value),) = attribute.items()
        if found == self.type:
            return self.reader(value, home)
        want, got = TYPES[self.type], TYPES.get(found, found)
        if found == "NULL":
            raise CellError(f"is Null; remove the attribute, or give it as a {want}")
        if (self.type, found) == ("BOOL", "S"):
            raise CellError(f"is the text {quote(value)}; use the {want} type, true or false without quotes")
        if (self.type, found) == ("N", "S"):
            if value.isascii() and value.isdigit():
                return self.reader(value, home)  # with a warning, by `_about_sense`
            raise CellError(f"is the text {quote_plain(value)}; use {self.range}, as a {want}")
        raise CellError(f"is a {got}; use a {want}: {self.range}" if self.range else f"is a {got}; use a {want}")


def text(limit: int) -> Kind:
    return Kind("S", f"up to {limit:,} characters", lambda text, _: check_length(text, limit, "this column takes"))


def choice(choices: type[StrEnum]) -> Kind:
    words = " or ".join(choices)

    def read(text: str, _: HomeAccount) -> StrEnum:
        if text not in choices:
            raise CellError(f"is {quote_plain(text)}; write {words}, in small letters")
        return choices(text)

    return Kind("S", words, read)


def text_set(pattern: str, limit: int, what: str, *, hint: str = "", absent: str = "all") -> Kind:
    """Return a string set whose entries all look as `pattern` says; without it the row is for `absent`."""

    def read(entries: Collection[str], _: HomeAccount) -> frozenset[str]:
        if not entries:
            raise CellError(f"is empty; remove it for {absent}, or list at least one")
        if len(entries) > limit:
            raise CellError(f"has {len(entries):,} entries; at most {limit:,} can be listed")
        wrong = sorted(entry for entry in entries if not re.fullmatch(pattern, entry))
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""  # noqa: PLR2004  # enough to see the pattern
            none = f", or remove the column for {absent}" if ANY_VALUE in wrong else ""
            raise CellError(f"holds {', '.join(map(quote_plain, wrong[:3]))}{more}; write {what}{hint}{none}")
        return frozenset(entries)

    return Kind("SS", f"{what}, at most {limit:,}", read)


FLAG = Kind("BOOL", "true or false", lambda flag, _: bool(flag))

# Elastic Load Balancing, "Listener rules": the priorities that people know.
PRIORITIES = (1, 50_000)


def whole_number(lowest: int, highest: int) -> Kind:
    words = f"a whole number from {lowest} to {highest}"

    def read(digits: str, _: HomeAccount) -> int:
        # What is no number, or is NaN, which can't be compared, DynamoDB refuses; a file may hold it.
        with suppress(InvalidOperation):
            number = Decimal(digits)
            if lowest <= number <= highest and number == int(number):
                return int(number)
        raise CellError(f"is {quote(digits)}; use {words}")

    return Kind("N", words, read)


PRIORITY = whole_number(*PRIORITIES)


def _read_waves(text: str, _: HomeAccount) -> str:
    try:
        Waves.read(text)
    except ValueError as error:
        raise CellError(f"{quote(text)} {error}") from None
    return text


WAVES = Kind("S", "waves, as 1, 10%, 50%, 100% every 15m, or linear 10% every 5m; or at once", _read_waves)

# ISO 8601 in its extended form; `fromisoformat` takes much more, week dates and any character for the T among them.
# As both Python and JSON Schema (ECMA 262) read it: no \d, which means more in Python.
DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME = "[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
ZONE = "(Z|[+-][0-9]{2}:?[0-9]{2})"
_INSTANT = re.compile(f"{DATE}({TIME}({ZONE})?)?")
YEARS = (2000, 9998)


def _read_instant(written: str, _: HomeAccount) -> datetime:
    ask = "write date, time and zone in ISO 8601, as 2026-12-31T18:00:00Z"
    if written.strip().casefold() in {"", "never"}:
        raise CellError(f"is {quote(written)}; remove it for no end, or {ask}")
    if not _INSTANT.fullmatch(written):
        raise CellError(f"is {quote_plain(written)}; {ask}")
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise CellError(f"is {quote(written)}, a time that doesn't exist; {ask}") from None
    if at.tzinfo is None:
        raise CellError(f"is {quote(written)}, which has no time zone; add Z for UTC: {quote(f'{at.isoformat()}Z')}")
    # The first and the last day of the calendar may not exist in UTC; they are out of range anyway.
    with suppress(OverflowError):
        at = at.astimezone(UTC)
    if not YEARS[0] <= at.year <= YEARS[1]:
        raise CellError(f"is in the year {at.year}; write a date from {YEARS[0]} to {YEARS[1]}")
    return at


INSTANT = Kind("S", "ISO 8601 with a time zone, as 2026-12-31T18:00:00Z", _read_instant)

type Attributes = Mapping[str, Any]
"""A low-level DynamoDB item: attribute name to a value under its type, as `{"role": {"S": "web"}}`."""

# EC2 user guide, "Tag restrictions": 50 tags an instance, keys to 128 characters, values to 256.
MOST_TAGS, LONGEST_KEY, LONGEST_VALUE = 50, 128, 256


def _tag(text: str, limit: int) -> str:
    check_length(text, limit, "a tag takes")
    _refuse(text, mistakable(text), "write the text that the tag has")
    return text


def _refuse(text: str, wrong: str, ask: str) -> None:
    """Refuse a text that is wrong; one that shows nothing isn't repeated."""
    if wrong:
        raise CellError(f"{wrong}: {quote(text)}" if text.strip() else f"{wrong}; {ask}")


def _read_tag_key(text: str, _: HomeAccount) -> str:
    key = _tag(text, LONGEST_KEY)
    if key.startswith(RESERVED):
        raise CellError(f"is {quote(key)}, and what begins with {quote(RESERVED)} is reserved; use another tag key")
    return key


def _read_tags(attributes: Attributes, home: HomeAccount) -> dict[str, str]:
    """Return tags, key to value; every wrong one is reported."""
    if len(attributes) > MOST_TAGS:
        raise CellError(f"has {len(attributes):,} tags; an instance carries at most {MOST_TAGS}")
    tags: dict[str, str] = {}
    problems: list[str] = []
    for key, attribute in attributes.items():
        what = "a key"
        try:
            _tag(key, LONGEST_KEY)
            what = f"the value of {quote(key)}"
            tags[key] = _REQUIRED.read(attribute, home)
        except CellError as error:
            problems.append(f"{what} {error}")
    if problems:
        raise CellError("; ".join(problems))
    return tags


TAG_KEY = Kind("S", f"1 to {LONGEST_KEY} characters", _read_tag_key)
TAG_VALUE = Kind("S", f"1 to {LONGEST_VALUE} characters, or *", lambda text, _: _tag(text, LONGEST_VALUE))
# An instance's tag may be empty, so a required one may ask for that.
_REQUIRED = Kind("S", "", lambda text, _: text and _tag(text, LONGEST_VALUE))
TAGS = Kind("M", f"at most {MOST_TAGS} tags, key to value (String); * for any value", _read_tags)

# IAM user guide, "IAM object quotas": role names to 64 characters, instance profile names to 128.
LONGEST_ROLE, LONGEST_PROFILE = 64, 128
_CHARACTERS = "A-Za-z0-9_+=,.@-"  # IAM API reference, "CreateRole"
NAME = f"[{_CHARACTERS}]+"
_ARN_FIELDS = 6


def _read_role(text: str, home: HomeAccount) -> str:
    if text != NO_ROLE and text.casefold() == NO_ROLE.casefold():
        raise CellError(f"is {quote(text)}; write {NO_ROLE} in capitals to carry no role")
    return _iam_name(text, home, "role", limit=LONGEST_ROLE)


def _read_profile(text: str, home: HomeAccount) -> str:
    if text.casefold() == NO_ROLE.casefold():
        raise CellError(f"is {quote(text)}; remove it for the profile that is named as the role")
    return _iam_name(text, home, "instance profile", limit=LONGEST_PROFILE)


def _iam_name(text: str, home: HomeAccount, what: str, *, limit: int) -> str:
    """Return a name as IAM takes it; of what is wrong the most telling is reported."""
    if text[:4].casefold() == "arn:":
        raise CellError(_about_arn(text, home, what))
    if "/" in text:
        raise CellError(f"is {quote(text)}, which holds a path; give the {what}'s name only{_last_name(text)}")
    check_length(text, limit, "IAM takes")
    _refuse(text, _hidden(text), f"give the name of the {what}")
    if "*" in text or "?" in text:
        raise CellError(f"is {quote(text)}; wildcards can't be used: give the name of one {what}")
    if foreign := re.search(f"[^{_CHARACTERS}]", text):
        where = f"{name_of(foreign[0])} at position {foreign.start() + 1}"
        raise CellError(f"has {where}; IAM names take ASCII letters, digits and +=,.@_-: {quote(text)}")
    return text


def _about_arn(arn: str, home: HomeAccount, what: str) -> str:
    shown = quote(arn)
    cut_short = f"is {shown}, an ARN cut short; give the {what}'s name"
    fields = arn.split(":", _ARN_FIELDS - 1)
    if len(fields) < _ARN_FIELDS:
        return cut_short
    _, partition, service, _, account, resource = fields
    kind, _, path = resource.partition("/")
    if service != "iam" or kind != what.replace(" ", "-"):
        return f"is {shown}, the ARN of something else; give the name of the {what}"
    if not (partition and account and path.rsplit("/", 1)[-1]):
        return cut_short
    here = f"give a name in account {home.account}"
    if partition != home.partition:
        return f"is the ARN of another partition ({quote(partition)}; Rolekeeper runs in {home.partition}); {here}"
    if account != home.account:
        return f"is the ARN of another account ({quote(account)}), whose {what} EC2 can't attach here; {here}"
    return f"is {shown}; give the {what}'s name, not its ARN{_last_name(path)}"


def _last_name(path: str) -> str:
    """Return the name at the end of a path, to write instead; nothing when it is none."""
    name = path.rsplit("/", 1)[-1]
    return f": {quote(name)}" if re.fullmatch(NAME, name) and name.strip(".") else ""


ROLE = Kind("S", f"an IAM role's name of up to {LONGEST_ROLE} characters, or {NO_ROLE}", _read_role)
PROFILE = Kind("S", f"an instance profile's name of up to {LONGEST_PROFILE} characters", _read_profile)

_UNPLAIN = {"Cc": "a control character", "Cs": "half of a character"} | dict.fromkeys(("Zl", "Zp"), "a line break")
# The first words of the names of letters that look like Latin ones (Unicode, "confusables.txt").
_TWINS = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "FULLWIDTH", "MATHEMATICAL")


def mistakable(text: str) -> str:
    """Explain why a tag's key or value would be mistaken for another; empty for text of one script."""
    if hidden := _hidden(text):
        return hidden
    plain = unicodedata.normalize("NFKC", text)
    if plain.isascii() and not text.isascii():
        position, character = next((at, letter) for at, letter in enumerate(text, 1) if not letter.isascii())
        return f"has {name_of(character)} at position {position}, which looks like plain text; write {quote(plain)}"
    # Digits and marks are common to all scripts (Unicode TS 39), so they part no word.
    for in_word, word in groupby(enumerate(text), lambda pair: unicodedata.category(pair[1])[0] in "LNM"):
        scripts = {at: unicodedata.name(letter, "").split(" ", 1)[0] for at, letter in word}
        twins = [at for at, script in scripts.items() if script in _TWINS]
        if in_word and twins and "LATIN" in scripts.values():
            return (
                f"mixes alphabets: {name_of(text[twins[0]])} at position {twins[0] + 1} stands among Latin letters; "
                f"write the word in one alphabet"
            )
    return ""


def _uncomposed(text: str) -> str:
    """Explain from where on a tag isn't written in composed letters; empty if it is."""
    composed = unicodedata.normalize("NFC", text)
    if text == composed:
        return ""
    position = len(commonprefix([text, composed])) + 1  # noqa: RUF071  # of characters, as it is here
    why = "the same text in composed letters, as most keyboards write it, is another tag"
    return f"{quote(text)} isn't composed from position {position} on: {why}"


def _hidden(text: str) -> str:
    """Return what of a text isn't seen, or isn't seen as what it is; empty when all is."""
    if not text.strip():
        return "is blank" if text else "is empty"
    if text != text.strip():
        return f"{'begins' if text[0].isspace() else 'ends'} with a blank; remove it"
    if (at := unplain_at(text)) is None:
        return ""
    category, name = unicodedata.category(text[at]), name_of(text[at])
    if category == "Zs":
        return f"has {name} at position {at + 1}, which looks like a blank; use a plain blank"
    return f"has {_UNPLAIN.get(category, 'an invisible character')}, {name}, at position {at + 1}; remove it"


# Written by Rolekeeper only. A row is the same row whatever they say.
OURS = (
    *("status", "status_reason", "status_details", "status_revision"),
    *("matched", "occupied", "held_revision", "judging", "moved"),
)

# A published mapping has to fit into one item (400 KB) with room to spare.
ACCOUNTS, REGIONS, UNITS, OWNER, DESCRIPTION, EDITOR = 1_000, 100, 500, 256, 1024, 1024
ACCOUNT, ACCOUNT_IDS = "[0-9]{12}", "account ids of 12 digits"
REGION, REGION_CODES = "[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", "Region codes, as us-east-1"
# AWS Organizations API reference, "OrganizationalUnit" and "Root".
OU, ROOT = "ou-[a-z0-9]{4,32}-[a-z0-9]{8,32}", "r-[a-z0-9]{4,32}"
UNIT = f"({OU}|{ROOT})(/[*])?"
UNIT_IDS = "ids of organizational units, as ou-a1b2-c3d4e5f6, or of the root, as r-a1b2 (r-a1b2/*: and all below it)"
# CloudWatch API reference, `PutMetricAlarm`: up to 255 characters, and an ARN ends with them; commas part names.
ALARM, ALARMS, ALARM_NAMES = "[!-+.-:<-~-]([ -+.-:<-~-]{0,510}[!-+.-:<-~-])?", 20, "names or ARNs of CloudWatch alarms"
FAILURES = 100_000


@dataclass(frozen=True, slots=True)
class Column:
    """One column that people fill in, with its default in words: `required` has none."""

    name: str
    default: str
    kind: Kind


KEYS = (Column("tag_key", "required", TAG_KEY), Column("tag_value", "required", TAG_VALUE))

COLUMNS = (
    Column("role", "required", ROLE),
    Column("instance_profile", "the role's name", PROFILE),
    Column("priority", "100", PRIORITY),
    Column("enabled", "true", FLAG),
    Column("when_occupied", WhenOccupied.KEEP.value, choice(WhenOccupied)),
    Column("when_unmatched", WhenUnmatched.DETACH.value, choice(WhenUnmatched)),
    Column("when_stopped", WhenStopped.WAIT.value, choice(WhenStopped)),
    Column("allow_broad", "false", FLAG),
    Column("require_tags", "none", TAGS),
    Column("accounts", "all", text_set(ACCOUNT, ACCOUNTS, ACCOUNT_IDS, hint=", leading zeros included")),
    Column("not_accounts", "none", text_set(ACCOUNT, ACCOUNTS, ACCOUNT_IDS, absent="none")),
    Column("regions", "all", text_set(REGION, REGIONS, REGION_CODES)),
    Column("units", "all", text_set(UNIT, UNITS, UNIT_IDS)),
    Column("not_units", "none", text_set(UNIT, UNITS, UNIT_IDS, absent="none")),
    Column("rollout", "as deployed", WAVES),
    Column("halt_on", "as deployed", text_set(ALARM, ALARMS, ALARM_NAMES, absent="none but the deployment's")),
    Column("halt_after", "0", whole_number(0, FAILURES)),
    Column("on_halt", OnHalt.WAIT.value, choice(OnHalt)),
    Column("expires_at", "never", INSTANT),
    Column("owner", "none", text(OWNER)),
    Column("description", "none", text(DESCRIPTION)),
)

# By which a person has a halted rollout go on: the revision; removed from the row once that is done.
RESUME = Column("resume_revision", "none", whole_number(1, 10**9))
# Who claims to have made an edit: removed from the row once that is judged. A malformed one is only a warning.
EDITED_BY = Column("edited_by", "none", text(EDITOR))

# Columns that are taken out of the row again: a malformed one is only a warning.
PASSING = (EDITED_BY, RESUME)
_KNOWN = tuple(column.name for column in (*KEYS, *COLUMNS, *PASSING))
# What the mapping itself says is in the other columns. To resume is an act, so it has the row judged.
_NOT_CONTENT = frozenset({*OURS, EDITED_BY.name})
# A row may hold thousands of unknown columns; the first few tell what happened.
_UNKNOWN_SHOWN = 5
_SHORTEST_WORD, _LONGEST_NAME = 3, 64
_SETS = ("SS", "NS", "BS")
# The longest value of a column that a change shows whole.
SHOWN = 80
# An item has 400 KB (DynamoDB, "Service quotas"): in a row of more bytes than this our columns may have no room.
ITEM_KB = 400
FULL = (ITEM_KB - 8) * 1024


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """What a row says: a mapping, or all the problems that keep it from being one; and who claims to have edited it.

    `resume` is the revision whose rollout is to go on.
    """

    spec: MappingSpec | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    edited_by: str = ""
    resume: int = 0

    @property
    def done(self) -> tuple[str, ...]:
        """The columns to remove once the row is judged."""
        passing = {EDITED_BY.name: self.edited_by, RESUME.name: self.resume}
        return tuple(name for name, value in passing.items() if value)


def read_row(attributes: Attributes, home: HomeAccount) -> ParsedRow:
    """Read a row as DynamoDB's low-level API gives it; an empty one, where there is none, has problems."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for column in (*KEYS, *COLUMNS, *PASSING):
        if column.name not in attributes:
            if column.default == "required":
                problems.append(Problem("is missing", f"give {column.kind.range}", column=column.name))
            continue
        try:
            values[column.name] = column.kind.read(attributes[column.name], home)
        except CellError as error:
            (warnings if column in PASSING else problems).append(Problem(str(error), column=column.name))
    problems += _about_exclusions(values)
    warnings += (*_about_unknown(attributes), *_about_sense(values, attributes))
    if (size := size_of(attributes)) > FULL:
        what = f"the row has {size / 1024:.0f} KB, and with {ITEM_KB} it has no room for its status"
        remedy = f"shorten it to at most {FULL // 1024} KB: rolekeeper mapping get shows the status until then"
        problems.append(Problem(what, remedy))
    edited_by, resume = values.pop(EDITED_BY.name, ""), values.pop(RESUME.name, 0)
    spec = None
    if not problems:
        spec = MappingSpec(MappingKey(values.pop("tag_key"), values.pop("tag_value")), **values)
    return ParsedRow(spec, tuple(problems), tuple(warnings), edited_by=edited_by, resume=resume)


def _about_exclusions(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Return what a row is for and excludes as well: it would be for less than it says."""
    for name in ("accounts", "units"):
        without = values.get(f"not_{name}", frozenset())
        both = sorted(value for value in values.get(name, ()) if not without.isdisjoint((value, value + BELOW)))
        if both:
            what = f"excludes {quote(both[0])}, which {name} names"
            yield Problem(what, "take it out of one of the two", column=f"not_{name}")


def size_of(value: Any) -> int:
    """Estimate how many bytes DynamoDB counts for a row, never fewer."""
    match value:
        case str():
            return len(value.encode("utf-8", "surrogatepass"))
        case bytes():
            return len(value)
        case Mapping():
            return sum(size_of(name) + size_of(member) for name, member in value.items())
        case list():
            return sum(1 + size_of(member) for member in value)
    return 1


def _about_unknown(attributes: Attributes) -> Iterator[Problem]:
    unknown = sorted(attributes.keys() - set(_KNOWN) - set(OURS))
    for name in unknown[:_UNKNOWN_SHOWN]:
        word = name.casefold()[:_LONGEST_NAME]
        # The only column that holds the word was meant, or else the most alike.
        holding = [known for known in _KNOWN if word in known or known in word] if len(word) >= _SHORTEST_WORD else []
        close = holding if len(holding) == 1 else get_close_matches(word, _KNOWN, n=1)
        meant = f"did you mean {close[0]}?" if close else ""
        yield Problem(f"unknown column {quote(name)} is not used", meant)
    if len(unknown) > _UNKNOWN_SHOWN:
        yield Problem(f"and {len(unknown) - _UNKNOWN_SHOWN:,} more unknown columns")


def _about_sense(values: Mapping[str, Any], attributes: Attributes) -> Iterator[Problem]:
    """Return what is allowed but probably a mistake."""
    if "priority" in values and (digits := attributes["priority"].get("S")):
        yield Problem(f"the text {quote(digits)} was read as a number; use a {TYPES['N']}", column="priority")
    key, value = values.get("tag_key", ""), values.get("tag_value", ANY_VALUE)
    required: Mapping[str, str] = values.get("require_tags", {})
    keys = [("tag_key", key), *(("require_tags", name) for name in sorted(required))]
    texts = [("tag_value", value), *(("require_tags", text) for text in required.values())]
    yield from (Problem(why, column=column) for column, text in (*keys, *texts) if (why := _uncomposed(text)))
    for column, text in texts:
        if ANY_VALUE in text and text != ANY_VALUE:
            what = f"{quote(text)} matches that very text: only a lone * stands for any value"
            yield Problem(what, column=column)
    for column, text in keys:
        if ANY_VALUE in text:
            yield Problem(f"{quote(text)} is that very key: only a value takes * for any", column=column)
        if column == "require_tags" and text.startswith(RESERVED):
            yield Problem(f"{quote(text)} is a tag for Rolekeeper itself, and means no role", column=column)
    if "instance_profile" in values and values.get("role") == NO_ROLE:
        yield Problem(f"is not used, as role is {NO_ROLE}", column="instance_profile")
    asked = required.get(key, ANY_VALUE)
    if ANY_VALUE not in (asked, value) and asked != value:
        what = f"asks for {key}={asked} beside {MappingKey(key, value)}, which no instance can carry"
        yield Problem(what, column="require_tags")


def row_of(spec: MappingSpec) -> dict[str, Any]:
    """Return the low-level item that says this mapping, its defaults left out: `read_row` gives the mapping back."""
    row: dict[str, Any] = {"tag_key": {"S": spec.key.tag_key}, "tag_value": {"S": spec.key.tag_value}}
    for column, _, value in _differing(None, spec):
        row[column.name] = {column.kind.type: _written(value)}
    return row


def _written(value: Any) -> Any:
    match value:
        case bool():
            return value
        case frozenset():
            return sorted(value)
        case Mapping():
            return {name: {"S": text} for name, text in value.items()}
    return str(in_words(value))


def content(attributes: Attributes) -> dict[str, Any]:
    """Return the mapping's own columns, with sets in order; not ours, nor who edited it."""
    return {name: _ordered(value) for name, value in attributes.items() if name not in _NOT_CONTENT}


def _ordered(value: Any) -> Any:
    """Return an attribute value with every set in order; DynamoDB promises none."""
    if isinstance(value, list):
        return [_ordered(member) for member in value]
    if not isinstance(value, Mapping):
        return value
    # Under an attribute of that name in a map there is no list, but its type and value.
    return {
        name: sorted(member, key=repr) if name in _SETS and isinstance(member, list) else _ordered(member)
        for name, member in value.items()
    }


def fingerprint(attributes: Attributes) -> str:
    """Return a short text that is equal for two rows with equal `content`."""
    text = json.dumps(content(attributes), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def changes(before: PublishedMapping | None, after: PublishedMapping) -> list[str]:
    """List the columns that differ between two revisions, each as `role: web → db`; None before the first."""
    if after.deleted:
        return ["the row was deleted"]
    if before is None or before.deleted:
        sets = [f"{column.name}: {_shown(now)}" for column, _, now in _differing(None, after.spec)]
        return ["a new row" if before is None else "the row is back", *sets]
    differing = _differing(before.spec, after.spec)
    found = [f"{column.name}: {_shown(was)} → {_shown(now)}" for column, was, now in differing]
    if before.profile_arn != after.profile_arn and before.spec.profile_name == after.spec.profile_name:
        found.append(f"the instance profile: {before.profile_arn or 'none'} → {after.profile_arn or 'none'}")
    return found


def _differing(before: MappingSpec | None, after: MappingSpec) -> list[tuple[Column, Any, Any]]:
    before = before or MappingSpec(after.key, "")
    both = [(column, getattr(before, column.name), getattr(after, column.name)) for column in COLUMNS]
    return [(column, was, now) for column, was, now in both if was != now]


def _shown(value: Any) -> str:
    return cut(in_words(value) or "none", SHOWN)
