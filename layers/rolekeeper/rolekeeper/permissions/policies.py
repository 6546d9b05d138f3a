"""What roles may do by their policies, what of it is broad, and what a change of roles gains and loses.

Policies are read into rules. Only the role's own are looked at, not what the policies of resources, sessions and
organizations add or take. Conditions are compared, never evaluated (IAM user guide, "Policy evaluation logic").

Permissions are broad if an instance could use them to get more than its role. For this, what is allowed under a
condition is allowed, and only a Deny that applies whenever the Allow does takes it away. Resources count separately:
several patterns that only together reach all don't count as all.

A change gains everything that becomes allowed, and loses everything that no longer is. It may show more than that, if
only several rules together cover one.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from itertools import chain, islice, product
from pathlib import Path
from typing import Any, Literal

from rolekeeper.aws import Iam
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.aws.iam import Document, Policies
from rolekeeper.model.text import cut

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
_KEPT = 16_384  # more than the patterns of two roles; a Lambda function's memory is to stay small


@lru_cache(_KEPT)
def pattern_covers(wide: str, narrow: str) -> bool:
    """Return whether everything that one pattern matches is matched by another; never true wrongly."""
    return wide == narrow or bool(_covered_by(wide).fullmatch(without_variables(narrow)))


def patterns_meet(one: str, other: str) -> bool:
    """Return whether two patterns may match the same text; never false wrongly."""
    mine, theirs = pattern_head(one), pattern_head(other)
    alike = mine.startswith(theirs) or theirs.startswith(mine)
    return alike and _meet(without_variables(one), without_variables(other))


@lru_cache(_KEPT)
def pattern_head(pattern: str) -> str:
    """Return the text before a pattern's first wildcard or variable: all that it covers begins with it."""
    return re.split(r"[*?]", without_variables(pattern), maxsplit=1)[0]


def without_variables(pattern: str) -> str:
    return _VARIABLE.sub("*", pattern)


@lru_cache(_KEPT)
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


@lru_cache(_KEPT)
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


# ---- what of it is broad ----

# The list: actions that are broad, by the source that says so; those with a plus between them only together. Public
# collections of privilege escalations are compared with it in tests/data/escalation_paths.yaml.
type _Actions = Mapping[str, Sequence[str]]
_BROAD: Mapping[str, _Actions] = json.loads(Path(__file__).with_name("broad.json").read_text(encoding="utf-8"))
# Broad on any resource; and where they reach all resources: what runs or is assumed there brings a role of its own.
ON_ANY, ON_ALL = _BROAD["on any"], _BROAD["on all"]
# A name that nobody gives, as long as IAM takes: what matches it in a name's place is taken to match every name.
_ANY_NAME = "zq7w" * 16
_ANY_NAMES = (_ANY_NAME, f"{_ANY_NAME}/{_ANY_NAME}", f"{_ANY_NAME}:{_ANY_NAME}")
# AWS managed policy reference, "AdministratorAccess"; IAM user guide, "IAM JSON policy elements: NotAction". Who may
# call a service that there isn't may call all, or all but those named.
EVERYTHING = Scope((f"{_ANY_NAME}:{_ANY_NAME}",))
# Service authorization reference, "AWS Identity and Access Management (IAM)": all but what reads or simulates, and what
# makes only roles that AWS services define (IAM user guide, "Create a service-linked role").
_OTHER = ("iam:createservicelinkedrole", "iam:generate*", "iam:get*", "iam:list*", "iam:simulate*")
IAM_WRITES = Scope(("iam:*",), _OTHER, "IAM writes")
# The same, "AWS Organizations": what takes a service control policy away, or an account.
ORGANIZATION_WRITES = Scope(
    ("organizations:*",), ("organizations:describe*", "organizations:list*"), "Organizations writes"
)


def _together(actions: _Actions) -> list[tuple[Scope, ...]]:
    rules = chain.from_iterable(actions.values())
    return [tuple(Scope((name.lower(),), (), name) for name in rule.split("+")) for rule in rules]


# With each, whether it has to reach all resources. What covers most of the rest comes first.
_LIST = [(scopes, True) for scopes in ((EVERYTHING,), (IAM_WRITES,), (ORGANIZATION_WRITES,), *_together(ON_ALL))]
_LIST += [(scopes, False) for scopes in _together(ON_ANY)]
# The services whose resources an action is on, where they aren't its own.
_RESOURCES_OF = {"sts": ("iam",), "ec2-instance-connect": ("ec2",), "ssm": ("ec2", "ssm")}


def severe(held: Permissions) -> list[Rule]:
    """Return the broad part of what a role may do, by the list; what one rule covers isn't in another."""
    found: list[Rule] = []
    near = {number for rule in held.allowed for action in rule.actions for number in _listed_at(action)}
    for together, on_all in map(_LIST.__getitem__, sorted(near)):
        parts = [_part(held, broad, on_all=on_all) for broad in together]
        for rule in chain.from_iterable(parts) if all(parts) else ():
            found += rule.beyond(found)
    return found


@lru_cache(_KEPT)
def _listed_at(action: Scope) -> tuple[int, ...]:
    """Return where in the list an action may be, which many roles share: without conditions and resources."""
    return tuple(at for at, (together, _) in enumerate(_LIST) if any(map(action.meets, together)))


def _part(held: Permissions, broad: Scope, *, on_all: bool) -> list[Rule]:
    part: list[Rule] = []
    for rule in held.allowed:
        if actions := tuple(_common(action, broad) for action in rule.actions if action.meets(broad)):
            service = broad.within[0].split(":")[0]
            services = _RESOURCES_OF.get(service, (service,))
            resources = tuple(resource for resource in rule.resources if _reaches(resource, services, on_all=on_all))
            part += Rule(actions, resources, rule.conditions).beyond(held.denied)
    return part


def _common(action: Scope, broad: Scope) -> Scope:
    if broad is not EVERYTHING:
        return action.and_also(broad)
    return action if action.without else replace(action, shown=f"administrator access ({action.shown})")


def _reaches(resources: Scope, services: Iterable[str], *, on_all: bool) -> bool:
    """Return whether resources may be these services', or all of them; exceptions alone are taken for all."""
    for pattern in map(without_variables, resources.within):
        # What has fewer parts than an ARN has a wildcard in the place of the others.
        _, _, service, _, _, last, *_ = [*pattern.split(":", 5), *"*****"]
        # `role/*`, `role*` and `*` reach every name, `role/web-*` doesn't.
        kind, *names = re.split("[/:]", last.lower(), maxsplit=1)
        all_names = any(patterns_meet(names[0] if names else kind[-1:], name) for name in _ANY_NAMES)
        if not any(patterns_meet(service, ours) for ours in services) or (on_all and not all_names):
            return False
    return True


CONDITION = 120  # characters of the longest condition that is shown whole
UNKNOWN = 150  # characters about what couldn't be compared, beside what could be


@dataclass(frozen=True, slots=True)
class Difference:
    """Permissions gained and lost, each as `s3:GetObject, s3:PutObject on arn:aws:s3:::x/*`; or why it is `unknown`."""

    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unknown: str = ""

    @classmethod
    def of_all(cls, several: Sequence["Difference"]) -> "Difference":
        return cls(
            gained=tuple(dict.fromkeys(phrase for difference in several for phrase in difference.gained)),
            lost=tuple(dict.fromkeys(phrase for difference in several for phrase in difference.lost)),
            unknown="; ".join(dict.fromkeys(difference.unknown for difference in several if difference.unknown)),
        )


def difference(was: Permissions, will: Permissions) -> Difference:
    return Difference(_more(will, was, "no longer denied"), _more(was, will, "now denied"))


def lacking(held: Permissions, wanted: Permissions) -> tuple[str, ...]:
    """List the permissions that a role lacks: not allowed, or denied, in part or under a condition."""
    missing = [part for rule in wanted.allowed for part in rule.beyond(held.allowed)]
    there = [part for rule in wanted.allowed for part in rule.beyond(missing)]
    denied: list[tuple[Rule, str]] = []
    for rule, deny in product(there, held.denied):
        if part := rule.meeting(deny):
            whole = "in part denied" if part.beyond([deny]) else "denied"
            denied.append((part, f"denied {_when(deny)}" if deny.conditions else whole))
    return (*_phrases((rule, _when(rule)) for rule in missing), *_phrases(denied))


def in_words(difference: Difference, room: int) -> str:
    """Write a difference as `gains …; loses …, and 3 more`, in at most `room` characters."""
    if difference.unknown:
        unknown = f"the permissions couldn't be compared: {difference.unknown}"
        if not (difference.gained or difference.lost):
            return cut(unknown, room)
        known = in_words(replace(difference, unknown=""), room - UNKNOWN - len("; "))
        return cut(f"{known}; {cut(unknown, UNKNOWN)}", room)
    gains, loses = as_many("gains", difference.gained, room), as_many("loses", difference.lost, room)
    if gains and loses:
        # Each half may have half of the room, and what the other leaves.
        shared = room - len("; ")
        gains = as_many("gains", difference.gained, max(shared // 2, shared - len(loses)))
        loses = f"; {as_many('loses', difference.lost, shared - len(gains))}"
    return cut(f"{gains}{loses}" or "the same permissions", room)


def _more(these: Permissions, those: Permissions, denial: str) -> tuple[str, ...]:
    """List what one role may do beyond another: what it is allowed, and where the other is denied."""
    allowed: list[Rule] = []
    for rule in sorted(these.allowed, key=lambda rule: (rule.actions, rule.resources)):
        allowed += rule.beyond([*those.allowed, *allowed])
    # A Deny that only the other has matters for what both are allowed; the rest is covered above.
    common = [part for rule in these.allowed for part in rule.beyond(allowed)]
    lifted = [part for rule in those.denied for part in rule.beyond(these.denied)]
    denied = [part for rule in lifted for other in common if (part := rule.meeting(other))]
    gains = []
    for rule in allowed:
        partly = "in part denied" if any(rule.meeting(denial) for denial in these.denied) else ""
        gains.append((rule, "; ".join(filter(None, (_when(rule), partly)))))
    return (*_phrases(gains), *_phrases((rule, f"{denial} {_when(rule)}".rstrip()) for rule in denied))


def _phrases(rules: Iterable[tuple[Rule, str]]) -> list[str]:
    """Write rules, each with its remark: the actions that have the same resources and remark in one phrase."""
    resources: dict[tuple[Scope, str], set[Scope]] = {}
    for rule, remark in rules:
        for action in rule.actions:
            resources.setdefault((action, remark), set()).update(rule.resources)
    actions: dict[tuple[tuple[Scope, ...], str], list[Scope]] = {}
    for (action, remark), scopes in resources.items():
        actions.setdefault((tuple(sorted(scopes)), remark), []).append(action)
    phrases = sorted((sorted(scopes), on, remark) for (on, remark), scopes in actions.items())
    return [f"{_list(scopes)} on {_list(on)}{remark and f' ({remark})'}" for scopes, on, remark in phrases]


def _when(rule: Rule) -> str:
    return f"if {cut(' and '.join(sorted(rule.conditions)), CONDITION)}" if rule.conditions else ""


def _list(scopes: Iterable[Scope]) -> str:
    return ", ".join(scope.shown for scope in scopes)


def as_many(verb: str, phrases: Sequence[str], room: int) -> str:
    """Join as many phrases as there is room for, at least a piece of the first; empty if there are none."""
    for count in range(min(len(phrases), max(room, 1)), 0, -1):
        rest = f", and {len(phrases) - count} more" if count < len(phrases) else ""
        text = f"{verb} {'; '.join(phrases[:count])}"
        if count == 1 or len(text + rest) <= room:
            return cut(text, room - len(rest)) + rest
    return ""


@dataclass(frozen=True, slots=True)
class Gain:
    """What comes with going from one role to another, each named as a `PolicyReader` does; the broad is `severe`."""

    before: str
    after: str
    severe: tuple[str, ...] = ()
    difference: Difference = Difference()  # frozen


class PolicyReader:
    """Reads roles and their policies, each once in its life: one invocation.

    A role is named, or its instance profile is, by its ARN; an empty name and a profile that isn't there are no role.
    """

    def __init__(self, iam: Iam) -> None:
        self.iam = iam
        self.role = cache(iam.get_role)
        self.policies = cache(lambda name: iam.policies(role) if name and (role := self.role(name)) else Policies())
        self.permissions = cache(lambda role: permissions(self.policies(role)))
        self.difference = cache(self._difference)
        self._known = cache(self._permissions_or_why)

    def allowed(self, role: str) -> tuple[str, ...]:
        """Describe what a role may do; raises AwsRefusalError, TooManyRulesError."""
        return tuple(_phrases((rule, _when(rule)) for rule in self.permissions(role).allowed))

    def severe(self, role: str) -> tuple[str, ...]:
        """Describe a role's broad permissions; raises AwsRefusalError, TooManyRulesError."""
        return tuple(_phrases((rule, "") for rule in severe(self.permissions(role))))

    def severe_gain(self, before: str, after: str) -> tuple[str, ...]:
        """Describe the broad permissions that are new from one role to another; what can't be known may be."""
        gives = self._known(after)
        if isinstance(gives, str):
            return (f"what can't be known ({gives})",)
        broad = severe(gives)
        has = self._known(before) if broad else ""
        had = () if isinstance(has, str) else severe(has)
        return tuple(_phrases((part, "") for rule in broad for part in rule.beyond(had)))

    def _difference(self, before: str, after: str) -> Difference:
        """Compare two roles; the difference says what IAM refuses."""
        if before == after:
            return Difference()
        was, will = self._known(before), self._known(after)
        if isinstance(was, str) or isinstance(will, str):
            return Difference(unknown="; ".join(dict.fromkeys(why for why in (was, will) if isinstance(why, str))))
        return difference(was, will)

    def _permissions_or_why(self, name: str) -> Permissions | str:
        try:
            if ":" in name:
                profile = self.iam.get_instance_profile(name.rsplit("/", 1)[-1])
                name = profile.role_name if profile and profile.arn == name else ""
            return self.permissions(name) if not name or self.role(name) else f"role '{name}' doesn't exist"
        except AwsRefusalError as error:
            return f"IAM answers {error.code} to {error.action} on {error.resource}"
        except TooManyRulesError as error:
            return str(error)
