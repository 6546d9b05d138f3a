"""What a change from one role's policies to another's gains and loses, in words.

Whatever becomes allowed is in what is gained, and whatever was allowed and no longer is in what is lost. More may be
shown than is so, where only several rules together cover one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from rolekeeper.aws import Iam
from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.aws.iam import Policies
from rolekeeper.permissions.policies import Permissions, Rule, Scope, TooManyRulesError, permissions

CONDITION = 120  # characters of the longest condition that is shown whole


@dataclass(frozen=True, slots=True)
class Difference:
    """Permissions gained and lost, each as `s3:GetObject, s3:PutObject on arn:aws:s3:::x/*`; or why it is `unknown`."""

    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unknown: str = ""


def difference(before: Policies, after: Policies) -> Difference:
    """Compare the policies of the role that is carried with those of the one that would be."""
    try:
        was, will = permissions(before), permissions(after)
    except TooManyRulesError as error:
        return Difference(unknown=str(error))
    return Difference(_more(will, was, "no longer denied"), _more(was, will, "now denied"))


def in_words(difference: Difference, room: int) -> str:
    """A difference as `gains …; loses …, and 3 more`, in at most `room` characters."""
    if difference.unknown:
        return _cut(f"the permissions couldn't be compared: {difference.unknown}", room)
    gains, loses = _half("gains", difference.gained, room), _half("loses", difference.lost, room)
    if not (gains and loses):
        return _cut(gains or loses or "the same permissions", room)
    # Each half may have half of the room, and what the other leaves.
    shared = room - len("; ")
    gains = _half("gains", difference.gained, max(shared // 2, shared - len(loses)))
    return _cut(f"{gains}; {_half('loses', difference.lost, shared - len(gains))}", room)


def _more(these: Permissions, those: Permissions, denial: str) -> tuple[str, ...]:
    """What one role may do beyond another: what it is allowed, and where the other is denied."""
    allowed: list[Rule] = []
    for rule in sorted(these.allowed, key=lambda each: (each.actions, each.resources)):
        allowed += rule.beyond([*those.allowed, *allowed])
    # A Deny that the other had makes a difference to what both are allowed; the rest is told already.
    common = [part for rule in these.allowed for part in rule.beyond(allowed)]
    lifted = [part for rule in those.denied for part in rule.beyond(these.denied)]
    denied = [part for rule in lifted for other in common if (part := rule.meeting(other))]
    gains = []
    for rule in allowed:
        partly = "in part denied" if any(rule.meeting(each) for each in these.denied) else ""
        gains.append((rule, "; ".join(filter(None, (_when(rule), partly)))))
    return (*_phrases(gains), *_phrases((rule, f"{denial} {_when(rule)}".rstrip()) for rule in denied))


def _phrases(rules: Iterable[tuple[Rule, str]]) -> list[str]:
    """Rules in words, each with its remark: the actions that have the same resources and remark in one phrase."""
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
    return f"if {_cut(' and '.join(sorted(rule.conditions)), CONDITION)}" if rule.conditions else ""


def _list(scopes: Iterable[Scope]) -> str:
    return ", ".join(scope.shown for scope in scopes)


def _half(verb: str, phrases: Sequence[str], room: int) -> str:
    """As many phrases as there is room for, at least a piece of the first; empty when there are none."""
    said = rest = ""
    for count in range(min(len(phrases), max(room, 1)), 0, -1):
        rest = f", and {len(phrases) - count} more" if count < len(phrases) else ""
        said = f"{verb} {'; '.join(phrases[:count])}"
        if len(said + rest) <= room:
            break
    return _cut(said, room - len(rest)) + rest


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: max(room - 1, 0)]}…"


class PolicyReader:
    """Reads the policies of roles, each once in its life: one invocation. The difference says what IAM refuses."""

    def __init__(self, iam: Iam) -> None:
        self._iam = iam
        self._policies = cache(self._read_policies)
        self._role_in = cache(self._read_profile)
        self.difference = cache(self._difference)

    def profile_difference(self, from_profile: str, to_profile: str, to_role: str = "") -> Difference:
        """What going from one instance profile to another gains and loses, by ARN; one that isn't there holds no role.

        `to_role` is the role that `to_profile` will hold, where that is known: then the profile needn't exist yet.
        """
        try:
            return self.difference(self._role_in(from_profile), to_role or self._role_in(to_profile))
        except AwsRefusalError as error:
            return Difference(unknown=_refused(error))

    def _difference(self, from_role: str, to_role: str) -> Difference:
        """The same between two roles, by name; an empty name is no role."""
        if from_role == to_role:
            return Difference()
        before, after = self._policies(from_role), self._policies(to_role)
        if isinstance(before, str) or isinstance(after, str):
            return Difference(unknown="; ".join(each for each in (before, after) if isinstance(each, str)))
        return difference(before, after)

    def _read_policies(self, role: str) -> Policies | str:
        """A role's policies, or why they can't be known."""
        if not role:
            return Policies()
        try:
            return self._iam.policies(role) or f"role '{role}' doesn't exist"
        except AwsRefusalError as error:
            return _refused(error)

    def _read_profile(self, arn: str) -> str:
        """The name of the role in an instance profile; empty if there is none."""
        profile = self._iam.get_instance_profile(arn.rsplit("/", 1)[-1]) if arn else None
        return profile.role_name if profile and profile.arn == arn else ""


def _refused(error: AwsRefusalError) -> str:
    return f"IAM answers {error.code} to {error.action} on {error.resource}"
