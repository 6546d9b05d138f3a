"""A report without what identifies the account, its things and its people.

What EC2 answers is an allow-list: members that Rolekeeper doesn't read are dropped. In what remains, ids become
pseudonyms, the same id always the same one, so that a new association is still seen to be new; all else that looks
like an id, an address, a name of another's or a secret is replaced by a mark.
"""

import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rolekeeper.model.instance import AssociationState, InstanceState
from rolekeeper.model.text import UNSEEN, in_words
from rolekeeper_cli.shell.view import View
from rolekeeper_verify.names import TAG, Names
from rolekeeper_verify.view import Outcome, Report


class Redacted(Report):
    """A report, as only `redacted` makes one."""


MARK = "[REDACTED]"
# The members that are kept, by their names in EC2's API and in EventBridge's events.
_KEPT = frozenset(
    {"Reservations", "Instances", "InstanceId", "InstanceIds", "State", "Code", "Name", "IamInstanceProfile", "Arn"}
    | {"Id", "IamInstanceProfileAssociation", "IamInstanceProfileAssociations", "AssociationId", "AssociationIds"}
    | {"Operator", "Managed", "Principal", "HiddenByDefault", "IncludeManagedResources", "Filters", "Values", "Tags"}
    | {"Key", "Value", "Resources", "StartingInstances", "StoppingInstances", "TerminatingInstances", "CurrentState"}
    | {"PreviousState", "Error", "Message", "ResponseMetadata", "HTTPStatusCode", "RetryAttempts"}
    | {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail", "instance-id"}
    | {"state", "changed-tag-keys", "tags", "service", "resource-type"}
)
# These name no thing: states, and what a filter is about.
_FILTERS = {"instance-id", "instance-state-name", "state", "association-id", "tag-key", "tag:Name"}
_PLAIN = {*InstanceState, *AssociationState, *_FILTERS}
# Stand for what was found until all was looked for. They aren't printable, so no text has them.
_FIRST_TOKEN, _TOKENS = 0xF0000, "\U000f0000-\U0010fffd"
# The words of an ARN that name a kind of thing.
_KINDS = frozenset(
    {"*", "aws", "assumed-role", "federated-user", "function", "instance", "instance-profile", "log-group", "policy"}
    | {"network-interface", "role", "rule", "security-group", "stack", "statemachine", "subnet", "table", "user"}
    | {"volume", "vpc"}
)
# A message may name a session without its ARN's head.
_HEAD = r"arn:[a-z0-9*-]*:[a-z0-9*-]*:[a-z0-9*-]*:"
_ARN = rf"(?:{_HEAD}[^:\s]*:|(?=assumed-role/|federated-user/))[^\s\"'<>();]*[^\s\"'<>();.,:]"
_GROUP = "[0-9a-f]{1,4}"
_IPV6 = rf"(?:{_GROUP}:){{7}}{_GROUP}|{_GROUP}(?::{_GROUP})*::(?:{_GROUP}(?::{_GROUP})*)?|::{_GROUP}(?::{_GROUP})*"
# An AWS resource type such as AWS::EC2::Instance, which otherwise reads as IPv6.
_TYPE = r"AWS::(?:EC2|S3|[a-z]+)::[a-z]+"
# EC2's ids have 8 or 17 hex digits (EC2 user guide, "Resource IDs"). IAM's begin with their kind (IAM user guide,
# "Unique identifiers").
_RESOURCE = r"[a-z]{1,8}(?:-[a-z]{1,8})?-[0-9a-f]{8}(?:[0-9a-f]{9})?(?![0-9a-z])"
_UNIQUE = r"(?:ABIA|ACCA|AGPA|AIDA|AIPA|AKIA|ANPA|ANVA|APKA|AROA|ASCA|ASIA)[A-Z0-9]{12,}"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ACCOUNT = r"(?<!\d)\d{4}[- ]\d{4}[- ]\d{4,}|\d{12,}"
_ID = re.compile(f"{_RESOURCE}|{_UNIQUE}|{_UUID}|{_ACCOUNT}", re.IGNORECASE)
_HIDDEN = "|".join(
    (
        rf"[a-z][a-z0-9+.-]*://[^\s{_TOKENS}]+",
        rf"[^\s@\"'<>()\[\],;:{_TOKENS}]+@[\w-]+(?:\.[\w-]+)*",
        r"(?:/home/|[/\\]Users[/\\])[^\s/\\]+",
        # The id of a root, and not of a reservation (Organizations API reference, "Root").
        r"\b(?:o-[a-z0-9]{10,}|ou-[a-z0-9]{4,}-[a-z0-9]{8,}|r-(?!(?:[0-9a-f]{8}|[0-9a-f]{17})\b)[a-z0-9]{4,32}\b)",
        r"(?:ip|ec2)(?:-\d{1,3}){4}[\w.-]*|[\w.-]+\.(?:internal|compute(?:-\d)?\.amazonaws\.com)",
        r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}",
        r"\d{1,3}(?:\.\d{1,3}){3,}",
        _IPV6,
    )
)
# Session tokens, secret keys, base64, EC2's encoded messages: a long run of these that isn't made of words.
_OPAQUE = re.compile(r"(?=[A-Za-z0-9])[A-Za-z0-9+/_-]{16,}={0,2}")
_WORDS = re.compile(r"(?:EC2|S3|I[dP]s?(?![a-z])|[A-Z]?[a-z]{2,}+|[A-Z]{2,4}(?=[A-Z][a-z]|[^A-Za-z]|$)|[-_/])+")
_ESCAPE = re.compile(r"\\+u\{?([0-9a-f]{4})\}?|\\+x([0-9a-f]{2})|%(?:25)*([0-9a-f]{2})", re.IGNORECASE)


def redacted(report: Report, caller: str = "") -> Redacted:
    """The same report without the names of its caller, an ARN, fit to be published.

    It has no event of an instance that none of its answers names.
    """
    redactor = Redactor(Names(report.id), caller)
    ours = _instances(report.answers)
    return Redacted(
        **vars(report)
        | {name: redactor.text(getattr(report, name)) for name in ("version", "region", "began")}
        | {name: [*map(redactor.fields, getattr(report, name))] for name in ("steps", "probes", "answers")}
        | {"events": [redactor.value(event) for event in report.events if ours & _instances(event)]}
        | {"left": [redactor.text(thing) for thing in report.left]}
    )


def _instances(values: object) -> set[str]:
    """The ids of instances in a document, at any place."""
    return set(re.findall(r"\bi-[0-9a-f]{8,17}\b", str(values)))


class Redactor:
    """Redacts texts and documents of one verification: its own `names` stay, and those of its `caller`, an ARN, go.

    What was redacted stays as it is: pseudonyms are numbers in the order in which their values are found.
    """

    def __init__(self, names: Names, caller: str = "") -> None:
        self._stack = names.stack
        self._own_tags = (TAG, names.tag_key)
        self._texts: dict[str, str] = {}
        self._numbers: defaultdict[str, dict[str, int]] = defaultdict(dict)
        callers = [re.escape(each) for each in re.split("[/:]", _decoded(caller))[6:] if len(each) > 2]  # noqa: PLR2004  # a shorter one is part of any word
        names_of_others = "|".join([*callers, r"name-\d+"])
        named = rf"(?<!\w)(?:{names_of_others})(?!\w)"
        # Its resources have their names in the template.
        kept = rf"{self._stack}(?-i:-(?!(?i:{names_of_others}))(?:[A-Z][a-z]+)+)?|{TAG}|{_TYPE}"
        finders: tuple[tuple[str, Callable[[str], str]], ...] = (
            (_ARN, self._arn),
            (kept, str),
            (_UUID, lambda uuid: f"ffffffff-0000-0000-0000-{self._number('uuid', uuid):012d}"),
            (_UNIQUE, self._unique),
            (_HIDDEN, lambda _: MARK),
            (named, self._name),
            (_RESOURCE, self._resource),
            (_ACCOUNT, self._account),
        )
        self._finders = [(re.compile(pattern, re.IGNORECASE), found) for pattern, found in finders]

    def fields[Item: View](self, item: Item) -> Item:
        """An item of a report with each of its fields redacted; its outcome is no text of AWS's."""
        plain = {name: each if isinstance(each, Outcome) else self.value(each) for name, each in vars(item).items()}
        return item.but(**plain)

    def value(self, value: object) -> Any:
        """A document of EC2's or EventBridge's: its known members, redacted, as JSON has them."""
        match value:
            case Mapping():
                return {name: self._member(name, each) for name, each in value.items() if name in _KEPT}
            case list() | tuple() | set() | frozenset():
                return [self.value(each) for each in value]
            case None | bool():
                return value
            case int() | float():
                number = round(value, 3)
                return number if self.text(str(number)) == str(number) else MARK
            case str() | datetime():
                return self.text(in_words(value))
        return MARK

    def text(self, text: str) -> str:
        if text not in self._texts:
            self._texts[text] = text if text in _PLAIN else self._redacted(text)
        return self._texts[text]

    def _redacted(self, text: str) -> str:
        found: list[str] = []
        left = _decoded(text)
        for pattern, pseudonym in self._finders:

            def token(match: re.Match[str], pseudonym: Callable[[str], str] = pseudonym) -> str:
                found.append(pseudonym(match[0]))
                return chr(_FIRST_TOKEN + len(found) - 1)

            left = pattern.sub(token, left)
        left = _OPAQUE.sub(lambda match: match[0] if _WORDS.fullmatch(match[0]) else MARK, left)
        return re.sub(f"[{_TOKENS}]", lambda match: found[ord(match[0]) - _FIRST_TOKEN], left)

    def _member(self, name: str, value: object) -> Any:
        match name, value:
            case "tags", Mapping():
                return {self.text(key): self.value(each) for key, each in value.items() if key in self._own_tags}
            case "Tags", list():
                tags = [tag for tag in value if isinstance(tag, Mapping)]
                return [self.value(tag) for tag in tags if tag.get("Key") in self._own_tags]
            case "changed-tag-keys", list():
                return [self.value(each) for each in value if each in self._own_tags]
            case "Name", str() if value not in _PLAIN and value.removeprefix("tag:") not in self._own_tags:
                return self._part(_decoded(value))
        return self.value(value)

    def _number(self, kind: str, value: str) -> int:
        numbers = self._numbers[kind]
        return numbers.setdefault(value.lower(), len(numbers) + 1)

    def _arn(self, arn: str) -> str:
        head = "".join(re.findall(f"^{_HEAD}", arn, re.IGNORECASE))
        return head.lower() + re.sub("[^/:]+", lambda part: self._part(part[0]), arn[len(head) :])

    def _part(self, part: str) -> str:
        """A part of an ARN: a kind, an id, or a name."""
        if part.lower() in _KINDS:
            return part
        return self.text(part) if part.lower().startswith(self._stack) or _ID.fullmatch(part) else self._name(part)

    def _name(self, name: str) -> str:
        return f"name-{self._number('name', name)}"

    def _account(self, account: str) -> str:
        return f"{self._number('account', re.sub('[- ]', '', account)):012d}"

    def _unique(self, unique: str) -> str:
        kind, rest = unique[:4].upper(), unique[4:]
        return f"{kind}{self._number(kind, rest):0{len(rest)}d}"

    def _resource(self, resource: str) -> str:
        kind, _, number = resource.lower().rpartition("-")
        return f"{kind}-{self._number(f'{kind} {len(number)}', number):0{len(number)}d}"


def _decoded(text: str) -> str:
    """A text without what hides a part of it: escapes of URLs, JSON and HTML, other forms of letters, unseen ones."""
    while True:
        plain = _ESCAPE.sub(lambda match: chr(int(match[1] or match[2] or match[3], 16)), text)
        plain = unicodedata.normalize("NFKC", html.unescape(plain))
        plain = "".join(map(_visible, plain))
        if plain == text:
            return plain
        text = plain


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    return character if character.isprintable() and not UNSEEN.match(character) else ""
