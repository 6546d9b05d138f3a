"""What of permissions is broad, and what a change of roles gains and loses.

Permissions are broad if an instance could use them to get more than its role. For this, what is allowed under a
condition is allowed, and only a Deny that applies whenever the Allow does takes it away. Resources count separately:
several patterns that only together reach all don't count as all.

A change gains everything that becomes allowed, and loses everything that no longer is. It may show more than that, if
only several rules together cover one.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import chain, product
from pathlib import Path

from rolekeeper.aws import Iam
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.aws.iam import Policies
from rolekeeper.model.text import cut
from rolekeeper.permissions.policies import (
    KEPT,
    Permissions,
    Rule,
    Scope,
    TooManyRulesError,
    patterns_meet,
    permissions,
    without_variables,
)

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


@lru_cache(KEPT)
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
    def of_all(cls, several: Sequence["Difference"], most: int | None = None) -> "Difference":
        return cls(
            gained=tuple(dict.fromkeys(phrase for difference in several for phrase in difference.gained))[:most],
            lost=tuple(dict.fromkeys(phrase for difference in several for phrase in difference.lost))[:most],
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
