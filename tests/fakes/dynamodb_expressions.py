"""DynamoDB's expressions as far as Rolekeeper uses them, each text read once; any other is NotImplementedError.

Source: DynamoDB developer guide, "Expressions"; the words of the errors are DynamoDB's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NoReturn

from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

from fakes import dynamodb_values as values_of
from fakes.dynamodb_values import Item, RefusedError, Value

type Names = Mapping[str, str]
type Values = Mapping[str, Value]
type Test = Callable[[Item, Names, Values], bool]

EXPRESSION_BYTES = 4096
_RESERVED = frozenset(ReservedKeywords.get_reserved_keywords())
_TOKEN = re.compile(r"\s*([#:]\w+|[A-Za-z]\w*|<=|>=|<>|[=<>(),])", re.ASCII)
_ORDERS = {"<", "<=", ">", ">="}
# What an operand's type is called in an error.
_TYPES = {"S": "STRING", "N": "NUMBER", "B": "BINARY", "BOOL": "BOOLEAN", "NULL": "NULL", "L": "LIST", "M": "MAP"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition. `names` and `values` are the placeholders that it uses, `ordered` those values that it orders by."""

    holds: Test
    names: frozenset[str]
    values: frozenset[str]
    ordered: frozenset[str]

    def check(self, values: Values) -> None:
        """Refuse values that have no order and are compared by one."""
        for slot in self.ordered:
            if not values[slot].keys() & {"S", "N", "B"}:
                raise _wrong_operand("Condition", "<", values[slot])


@dataclass(frozen=True, slots=True)
class Change:
    """An update expression: by clause, the attributes with the value for each."""

    clauses: Mapping[str, tuple[tuple[str, str], ...]]
    names: frozenset[str]
    values: frozenset[str]

    def check(self, names: Names, values: Values, keys: tuple[str, ...]) -> None:
        """Refuse what DynamoDB refuses without a look at the item."""
        seen: set[str] = set()
        for verb, actions in self.clauses.items():
            for path, slot in actions:
                name = names.get(path, path)
                if name in seen:
                    raise _invalid(
                        "Update",
                        "Two document paths overlap with each other; must remove or rewrite one of these paths; "
                        f"path one: [{name}], path two: [{name}]",
                    )
                seen.add(name)
                if verb in {"ADD", "DELETE"} and not values[slot].keys() & _ALLOWED[verb]:
                    raise _wrong_operand("Update", verb, values[slot])
        for name in keys:
            if name in seen:
                raise RefusedError(
                    f"One or more parameter values were invalid: Cannot update attribute {name}. "
                    "This attribute is part of the key"
                )

    def applied(self, item: Item, names: Names, values: Values) -> Item:
        """The item after the change; the former one stays as it was."""
        made = dict(item)
        for path, slot in self.clauses["SET"]:
            made[names.get(path, path)] = values[slot]
        for path, _ in self.clauses["REMOVE"]:
            made.pop(names.get(path, path), None)
        for path, slot in self.clauses["ADD"]:
            name = names.get(path, path)
            made[name] = values_of.added(item.get(name), values[slot])
        for path, slot in self.clauses["DELETE"]:
            name = names.get(path, path)
            left = values_of.without(made.pop(name, None), values[slot])
            if left is not None:
                made[name] = left
        return made


@dataclass(frozen=True, slots=True)
class KeyCondition:
    """What a query asks for: (attribute, comparison, value) of each of its one or two conditions."""

    conditions: tuple[tuple[str, str, str], ...]
    names: frozenset[str]
    values: frozenset[str]


type Expression = Condition | Change | KeyCondition

_ALLOWED = {"ADD": {"N", "SS", "NS", "BS"}, "DELETE": {"SS", "NS", "BS"}}


# ---- reading them ----


@cache
def condition(text: str) -> Condition:
    reader = _Reader("Condition", text)
    holds = reader.either()
    reader.end()
    return Condition(holds, frozenset(reader.names), frozenset(reader.values), frozenset(reader.ordered))


@cache
def change(text: str) -> Change:
    reader = _Reader("Update", text)
    clauses: dict[str, tuple[tuple[str, str], ...]] = {}
    while reader.next:
        verb = reader.take().upper()
        if verb not in {"SET", "REMOVE", "ADD", "DELETE"}:
            reader.unknown()
        if verb in clauses:
            raise _invalid("Update", f'The "{verb}" section can only be used once in an update expression;')
        clauses[verb] = tuple(reader.listed(lambda verb=verb: reader.action(verb)))  # type: ignore[misc]  # mypy sees no default of a lambda
    every = {verb: clauses.get(verb, ()) for verb in ("SET", "REMOVE", "ADD", "DELETE")}
    return Change(every, frozenset(reader.names), frozenset(reader.values))


@cache
def key_condition(text: str) -> KeyCondition:
    reader = _Reader("KeyCondition", text)
    conditions = [reader.key_test()]
    while reader.next.upper() == "AND":
        reader.take()
        conditions.append(reader.key_test())
    reader.end()
    return KeyCondition(tuple(conditions), frozenset(reader.names), frozenset(reader.values))


@cache
def projection(text: str) -> list[str]:
    """The attributes that a read asks for."""
    reader = _Reader("Projection", text)
    paths = reader.listed(reader.path)
    reader.end()
    return paths


class _Reader:
    """The words of one expression, from left to right, and the placeholders met so far."""

    def __init__(self, kind: str, text: str) -> None:
        if not text.strip():
            raise _invalid(kind, "The expression can not be empty;")
        if (size := values_of.text_size(text)) > EXPRESSION_BYTES:
            words = f"Expression size has exceeded the maximum allowed size; expression size: {size}"
            raise _invalid(kind, words)
        self._kind = kind
        self._text = text
        self._words = _TOKEN.findall(text)
        if "".join(self._words) != "".join(text.split()):
            self.unknown()
        self._words.append("")
        self._at = 0
        self.names: set[str] = set()
        self.values: set[str] = set()
        self.ordered: set[str] = set()

    @property
    def next(self) -> str:
        return str(self._words[self._at])

    def take(self, wanted: str = "") -> str:
        """The next word, which must be this one if one is wanted."""
        word = self.next
        if not word or (wanted and word != wanted):
            self.unknown()
        self._at += 1
        return word

    def end(self) -> None:
        if self.next:
            self.unknown()

    def unknown(self) -> NoReturn:
        raise NotImplementedError(f"{self._kind}Expression {self._text!r}")

    def path(self) -> str:
        word = self.take()
        if word[0] == "#":
            self.names.add(word)
        elif not word[0].isalpha():
            self.unknown()
        elif word.upper() in _RESERVED:
            raise _invalid(self._kind, f"Attribute name is a reserved keyword; reserved keyword: {word}")
        return word

    def value(self) -> str:
        word = self.take()
        if word[0] != ":":
            self.unknown()
        self.values.add(word)
        return word

    def listed[One](self, read: Callable[[], One]) -> list[One]:
        found = [read()]
        while self.next == ",":
            self.take()
            found.append(read())
        return found

    def action(self, verb: str) -> tuple[str, str]:
        """An action of an update's clause: an attribute, and the value for it."""
        path = self.path()
        if verb == "REMOVE":
            return path, ""
        if verb == "SET":
            self.take("=")
        return path, self.value()

    def key_test(self) -> tuple[str, str, str]:
        if self.next == "begins_with":
            self.take()
            self.take("(")
            path = self.path()
            self.take(",")
            found = path, "begins_with", self.value()
            self.take(")")
            return found
        path, comparison = self.path(), self.take()
        if comparison not in {"=", "<="}:
            self.unknown()
        return path, comparison, self.value()

    # ---- conditions ----

    def either(self) -> Test:
        return self._joined("OR", lambda: self._joined("AND", self._single, all), any)

    def _joined(self, word: str, read: Callable[[], Test], how: Callable[[list[bool]], bool]) -> Test:
        tests = [read()]
        while self.next.upper() == word:
            self.take()
            tests.append(read())
        if len(tests) == 1:
            return tests[0]
        if how is all:
            return lambda item, names, values: all(test(item, names, values) for test in tests)
        return lambda item, names, values: any(test(item, names, values) for test in tests)

    def _single(self) -> Test:
        if self.next == "(":
            return self._group()
        if self.next.upper() == "NOT":
            self.unknown()
        if self.next in {"attribute_exists", "attribute_not_exists"}:
            wanted = self.take() == "attribute_exists"
            self.take("(")
            path = self.path()
            self.take(")")
            return lambda item, names, _: (names.get(path, path) in item) is wanted
        path, comparison, slot = self.path(), self.take(), self.value()
        if comparison in _ORDERS:
            self.ordered.add(slot)
        compare = _COMPARISONS.get(comparison)
        if compare is None:
            self.unknown()
        return lambda item, names, values: compare(item.get(names.get(path, path)), values[slot])

    def _group(self) -> Test:
        self.take("(")
        doubled, start = self.next == "(", self._at
        test = self.either()
        if doubled and self._words[self._at - 1] == ")" and self._closes(start) == self._at - 1:
            raise _invalid(self._kind, "The expression has redundant parentheses;")
        self.take(")")
        return test

    def _closes(self, start: int) -> int:
        depth = 0
        for at in range(start, len(self._words)):
            depth += {"(": 1, ")": -1}.get(self._words[at], 0)
            if not depth:
                return at
        return self.unknown()


# An absent attribute equals nothing, comes before and after nothing, and differs from everything.
_COMPARISONS: dict[str, Callable[[Value | None, Value], bool]] = {
    "=": lambda found, value: found == value,
    "<>": lambda found, value: found != value,
    "<": lambda found, value: found is not None and values_of.is_below(found, value),
    ">": lambda found, value: found is not None and values_of.is_below(value, found),
    "<=": lambda found, value: found is not None and (found == value or values_of.is_below(found, value)),
    ">=": lambda found, value: found is not None and (found == value or values_of.is_below(value, found)),
}


# ---- the placeholders of a request ----


def check_placeholders(
    names: Names | None, values: Values | None, *expressions: tuple[str, Expression]
) -> tuple[Names, Values]:
    """The names and values of a request, each one defined and used by its expressions (kind and expression).

    Raises:
        RefusedError: one is undefined or unused, or there are none.
    """
    for what, given in (("Names", names), ("Values", values)):
        if given is None:
            continue
        if not expressions:
            raise RefusedError(f"ExpressionAttribute{what} can only be specified when using expressions")
        if not given:
            raise RefusedError(f"ExpressionAttribute{what} must not be empty")
    names, values = names or {}, values or {}
    for kind, each in expressions:
        if undefined := each.names - names.keys():
            words = "An expression attribute name used in the document path is not defined; attribute name: "
            raise _invalid(kind, words + min(undefined))
        if undefined := each.values - values.keys():
            words = "An expression attribute value used in expression is not defined; attribute value: "
            raise _invalid(kind, words + min(undefined))
    _check_used("Names", names, [each.names for _, each in expressions])
    _check_used("Values", values, [each.values for _, each in expressions])
    return names, values


def _check_used(what: str, given: Mapping[str, object], used: list[frozenset[str]]) -> None:
    unused = given.keys() - frozenset().union(*used)
    if unused:
        listed = ", ".join(sorted(unused))
        raise RefusedError(f"Value provided in ExpressionAttribute{what} unused in expressions: keys: {{{listed}}}")


def _invalid(kind: str, words: str) -> RefusedError:
    return RefusedError(f"Invalid {kind}Expression: {words}")


def _wrong_operand(kind: str, operator: str, value: Value) -> RefusedError:
    (found,) = value
    words = "Incorrect operand type for operator or function; operator or function"
    return _invalid(kind, f"{words}: {operator}, operand type: {_TYPES.get(found, found)}")
