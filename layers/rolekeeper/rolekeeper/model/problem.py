"""What is wrong, and what to do about it, as values: who shows them makes the text, and nobody takes one apart."""

from dataclasses import dataclass
from enum import StrEnum
from shlex import quote

from rolekeeper.model.text import key_text


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with something. `remedy` says what to do; `column` is the one of a mapping row that it is about."""

    what: str
    remedy: str = ""
    column: str = ""

    def __str__(self) -> str:
        text = f"{self.what}; {self.remedy}" if self.remedy else self.what
        return f"{self.column}: {text}" if self.column else text


class Kind(StrEnum):
    """What a remedy does: the subcommand of `rolekeeper` that does it, or a command of other programs."""

    FLEET = "fleet"
    ROLES = "roles"
    TARGETS = "targets"
    SETTINGS = "mode, pause or resume"
    RESUME = "resume"
    ENFORCE = "mode enforce"
    SWEEP = "sweep"
    EXPLAIN = "explain"
    ATTACH = "attach"
    REPLACE = "replace"
    DETACH = "detach"
    RELEASE = "release"
    REVOKE = "revoke"
    MAPPINGS = "mapping ls"
    MAPPING = "mapping get"
    MAPPING_HISTORY = "mapping history"
    REMOVE_MAPPING = "mapping rm"
    ROLL_BACK = "mapping rollback"
    APPROVE = "mapping approve"
    DISCARD = "mapping discard"
    TAG = "aws ec2 create-tags"
    UNTAG = "aws ec2 delete-tags"
    OTHER = "typed as it is"


_TAGS = frozenset({Kind.TAG, Kind.UNTAG})
_OF_A_MAPPING = frozenset(
    {Kind.MAPPING, Kind.MAPPING_HISTORY, Kind.REMOVE_MAPPING, Kind.ROLL_BACK, Kind.APPROVE, Kind.DISCARD}
)
# The option that takes a third argument.
_OPTIONS = dict.fromkeys((Kind.ATTACH, Kind.REPLACE), "--instance-profile")
_OPTIONS |= {Kind.ROLL_BACK: "--to", Kind.APPROVE: "--revision", Kind.DISCARD: "--revision"}


@dataclass(frozen=True, slots=True)
class Remedy:
    """A step that a person can take; as a text, the command to type.

    `arguments` are an instance, and the role and the instance profile of a pin, or the key and the value of a tag; a
    mapping's tag key and tag value, and a revision; or the text of any other command. In another account the command
    also needs `options`.
    """

    kind: Kind
    arguments: tuple[str, ...] = ()
    options: str = ""

    def __str__(self) -> str:
        if self.kind is Kind.OTHER:
            return f"{self.arguments[0]}{self.options}"
        if self.kind in _TAGS:
            instance, key, *value = self.arguments
            tag = quote(f"Key={key}" + "".join(f",Value={text}" for text in value))
            return f"{self.kind} --resources {instance} --tags {tag}{self.options}"
        names, more = self.arguments[:2], self.arguments[2:]
        if self.kind in _OF_A_MAPPING:
            names = (key_text(*names),)
        return " ".join(
            ["rolekeeper", self.kind, *map(quote, names), *(f"{_OPTIONS[self.kind]} {argument}" for argument in more)]
        )


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, in words, with the steps in it."""

    parts: tuple[str | Remedy, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.parts))


def advice(*parts: str | Remedy) -> Advice:
    return Advice(parts)


def typed(command: str) -> Remedy:
    return Remedy(Kind.OTHER, (command,))
