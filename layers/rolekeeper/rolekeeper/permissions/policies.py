"""What roles may do by their policies, read into rules.

Only the role's own are looked at, not what the policies of resources, sessions and organizations add or take.
Conditions are compared, never evaluated (IAM user guide, "Policy evaluation logic").
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from rolekeeper.aws.iam import Document, Policies

# Comparing takes the square of it. IAM's quotas leave room for about twice as many, each for a resource of its own
# (IAM user guide, "IAM and AWS STS quotas"); real roles have tens.
MOST_RULES = 500


class TooManyRulesError(Exception):
    """The policies hold more rules than can be compared in a function's time."""


# In a pattern `*` is any characters, `?` exactly one (IAM user guide, "IAM JSON policy elements: Resource").
# There `*` within an ARN's segment doesn't reach over a colon, except at the segment's end; here it always does, which
# differs only for ARNs that leave a colon to a wildcard.

# What a policy variable such as `${aws:PrincipalTag/team}` comes to is known only when a request is made.
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_OPEN_RUN = re.compile(r"(\?*\*[*?]*)")  # wildcards that match texts of any length from some length on
# In characters by characters: two ARNs are walked, and of longer ones it is taken that they may meet.
_LONGEST_WALK = 50_000
KEPT = 16_384  # more than the patterns of two roles; a Lambda function's memory is to stay small


@lru_cache(KEPT)
def pattern_covers(wide: str, narrow: str) -> bool:
    """Return whether everything that one pattern matches is matched by another; never true wrongly."""
    return wide == narrow or bool(_covered_by(wide).fullmatch(without_variables(narrow)))


def patterns_meet(one: str, other: str) -> bool:
    """Return whether two patterns may match the same text; never false wrongly."""
    mine, theirs = pattern_head(one), pattern_head(other)
    alike = mine.startswith(theirs) or theirs.startswith(mine)
    return alike and _meet(without_variables(one), without_variables(other))


@lru_cache(KEPT)
def pattern_head(pattern: str) -> str:
    """Return the text before a pattern's first wildcard or variable: all that it covers begins with it."""
    return re.split(r"[*?]", without_variables(pattern), maxsplit=1)[0]


def without_variables(pattern: str) -> str:
    return _VARIABLE.sub("*", pattern)


@lru_cache(KEPT)
def _covered_by(wide: str) -> re.Pattern[str]:
    """Compile an expression for the patterns that one covers: it reads a pattern's wildcards as characters.

    A `?` takes a character or a `?`, never a `*`, for that may be empty. Between two `*` the first fit is as good as
    any later one, so what is between is atomic: matching never takes exponential time.
    """
    parts = _OPEN_RUN.split(wide)
    first, *texts = [re.escape(text).replace(r"\?", "[^*]") for text in parts[::2]]
    if texts:
        texts[-1] += r"\Z"
    least = [len(run.replace("*", "")) for run in parts[1::2]]
    rest = [rf"(?>(?:\**[^*]){{{count}}}.*?{text})" for count, text in zip(least, texts, strict=True)]
    return re.compile(first + "".join(rest), re.DOTALL)


@lru_cache(KEPT)
def _meet(one: str, other: str) -> bool:
    """Walk both patterns at once; the row says with which prefixes of `other` the prefix of `one` can agree."""
    if pattern_covers(one, other) or pattern_covers(other, one) or len(one) * len(other) > _LONGEST_WALK:
        return True
    row = [not other[:end].strip("*") for end in range(len(other) + 1)]
    for mine in one:
        above, row = row, [row[0] and mine == "*"]
        for at, theirs in enumerate(other):
            if "*" in {mine, theirs}:
                row.append(above[at + 1] or row[at])
            else:
                row.append(above[at] and (mine == theirs or "?" in {mine, theirs}))
    return row[-1]


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """The actions, or the resources, that match all of some patterns and none of others. `shown` says it in words."""

    within: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    shown: str = field(default="*", compare=False)

    def covers(self, other: "Scope") -> bool:
        """Return whether all that is in the other scope is in this one; never true wrongly."""
        return all(any(pattern_covers(mine, theirs) for theirs in other.within) for mine in self.within) and all(
            any(pattern_covers(theirs, mine) for theirs in other.without)
            or not all(patterns_meet(theirs, mine) for theirs in other.within)
            for mine in self.without
        )

    def meets(self, other: "Scope") -> bool:
        """Return whether something may be in both scopes; never false wrongly."""
        within, without = {*self.within, *other.within}, {*self.without, *other.without}
        return all(patterns_meet(mine, theirs) for mine in self.within for theirs in other.within) and not any(
            pattern_covers(barred, pattern) for barred in without for pattern in within
        )

    def and_also(self, other: "Scope") -> "Scope":
        """Return what is in both scopes: the narrower one, if one is."""
        if other.covers(self):
            return self
        if self.covers(other):
            return other
        within, without = {*self.within, *other.within}, {*self.without, *other.without}
        return Scope(tuple(sorted(within)), tuple(sorted(without)), f"{self.shown} within {other.shown}")


class _Index:
    """Scopes by what stands before their first wildcard: one covers only what begins so. Spares most comparisons."""

    def __init__(self, scopes: Iterable[Scope] = ()) -> None:
        self._scopes: dict[str, list[Scope]] = {}
        self._lengths: set[int] = set()
        for scope in scopes:
            self.add(scope)

    def add(self, scope: Scope) -> None:
        begins = pattern_head(scope.within[0]) if scope.within else ""
        self._scopes.setdefault(begins, []).append(scope)
        self._lengths.add(len(begins))

    def covers(self, scope: Scope) -> bool:
        begins = {text[:length] for text in scope.within or ("",) for length in self._lengths}
        return any(wide.covers(scope) for begin in begins for wide in self._scopes.get(begin, ()))


def _broadest(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """Sort scopes, without most of those that another covers: a wildcard sorts before nearly all it stands for."""
    kept, index = [], _Index()
    for scope in sorted(scopes):
        if not index.covers(scope):
            kept.append(scope)
            index.add(scope)
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Rule:
    """Any of some actions on any of some resources, under all of some conditions."""

    actions: tuple[Scope, ...]
    resources: tuple[Scope, ...]
    conditions: frozenset[str] = frozenset()

    def beyond(self, others: Iterable["Rule"]) -> "list[Rule]":
        """Return the parts of this rule that no other covers, each action and resource taken separately."""
        left = dict.fromkeys(self.actions, self.resources)
        for other in others:
            # A rule under fewer conditions applies whenever one under these and more does.
            if other.conditions <= self.conditions and (actions := list(filter(_Index(other.actions).covers, left))):
                covered = set(filter(_Index(other.resources).covers, self.resources))
                left |= {action: tuple(on for on in left[action] if on not in covered) for action in actions}
        return _merged(Rule((action,), resources, self.conditions) for action, resources in left.items() if resources)

    def meeting(self, other: "Rule") -> "Rule":
        """Return the part of this rule that may apply where the other does; empty if none may."""
        return Rule(
            tuple(action for action in self.actions if any(action.meets(scope) for scope in other.actions)),
            tuple(resource for resource in self.resources if any(resource.meets(scope) for scope in other.resources)),
            self.conditions,
        )

    def and_also(self, other: "Rule") -> "Rule":
        """Return what both rules say; without actions or resources if they have nothing in common."""
        return Rule(
            _broadest(one.and_also(two) for one in self.actions for two in other.actions if one.meets(two)),
            _broadest(one.and_also(two) for one in self.resources for two in other.resources if one.meets(two)),
            self.conditions | other.conditions,
        )

    def __bool__(self) -> bool:
        return bool(self.actions and self.resources)


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a role may do by its policies: what they allow, less what they deny."""

    allowed: tuple[Rule, ...]
    denied: tuple[Rule, ...]


def permissions(policies: Policies) -> Permissions:
    """Read policies into permissions; raises TooManyRulesError.

    What is allowed is cut to the boundary, and without what a Deny covers whole; what one takes away in part is in it.
    """
    boundary = () if policies.boundary is None else (policies.boundary,)
    allowed, denied = _rules(policies.documents, "Allow"), _rules((*policies.documents, *boundary), "Deny")
    if boundary:
        limits = _rules(boundary, "Allow")
        allowed = _few(both for rule in allowed for limit in limits if (both := rule.and_also(limit)))
    return Permissions(tuple(_few(part for rule in allowed for part in rule.beyond(denied))), tuple(denied))


def statements(policy: Document) -> list[Mapping[str, Any]]:
    """List the statements of a policy, of any kind of policy; what isn't one is left out."""
    return [statement for statement in listed(policy.get("Statement")) if isinstance(statement, Mapping)]


def listed(value: Any) -> list[Any]:
    """Return a policy's element as a list: IAM lets a list of one be written without its brackets."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _rules(documents: Iterable[Document], effect: Literal["Allow", "Deny"]) -> list[Rule]:
    found = (
        Rule(_scopes(statement, "Action"), _scopes(statement, "Resource"), _conditions(statement.get("Condition")))
        for document in documents
        for statement in statements(document)
        if statement.get("Effect") == effect and not _is_of_former_sessions(statement)
    )
    return _few(_merged(rule for rule in found if rule))


def _is_of_former_sessions(statement: Document) -> bool:
    """Return whether it denies only sessions issued before a time, as a revocation does: new ones have the role."""
    condition = statement.get("Condition")
    tests = condition.get("DateLessThan") if isinstance(condition, Mapping) else None
    before = isinstance(tests, Mapping) and any(str(key).lower() == "aws:tokenissuetime" for key in tests)
    return statement.get("Effect") == "Deny" and before


def _few(rules: Iterable[Rule]) -> list[Rule]:
    found = list(islice(rules, MOST_RULES + 1))
    if len(found) > MOST_RULES:
        raise TooManyRulesError(f"a role's policies hold more than {MOST_RULES} different statements")
    return found


def _merged(rules: Iterable[Rule]) -> list[Rule]:
    """Merge rules into one for all that have the same resources and conditions."""
    actions: dict[tuple[tuple[Scope, ...], frozenset[str]], list[Scope]] = {}
    for rule in rules:
        actions.setdefault((rule.resources, rule.conditions), []).extend(rule.actions)
    return [Rule(_broadest(scopes), on, conditions) for (on, conditions), scopes in actions.items()]


def _scopes(statement: Mapping[str, Any], element: Literal["Action", "Resource"]) -> tuple[Scope, ...]:
    if names := _names(statement, element):
        return _broadest(Scope(() if key.strip("*") == "" else (key,), (), name) for key, name in names.items())
    if names := _names(statement, f"Not{element}"):
        return (Scope((), tuple(sorted(names)), f"everything but {' and '.join(sorted(names.values()))}"),)
    return ()


def _names(statement: Mapping[str, Any], element: str) -> dict[str, str]:
    """Return an element's patterns as they are compared, and as they are written: actions ignore case."""
    names = [name for name in listed(statement.get(element)) if name and isinstance(name, str)]
    return {name.lower() if element.endswith("Action") else name: name for name in names}


def _conditions(condition: Any) -> frozenset[str]:
    """List the tests of a condition, each as `StringEquals aws:SourceVpc "vpc-1", "vpc-2"`."""
    if not condition:
        return frozenset()
    blocks = condition.items() if isinstance(condition, Mapping) else [("", condition)]
    return frozenset(
        " ".join(filter(None, (operator, key, _values(values))))
        for operator, tests in blocks
        for key, values in (tests.items() if isinstance(tests, Mapping) else [("", tests)])
    )


def _values(values: Any) -> str:
    """Write a condition's values in JSON: quotes keep one that holds a comma apart from two."""
    texts = sorted({value if isinstance(value, str) else json.dumps(value, sort_keys=True) for value in listed(values)})
    return ", ".join(json.dumps(text, ensure_ascii=False) for text in texts)
