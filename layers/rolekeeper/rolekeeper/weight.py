"""How heavy an edit is: what it would change, whose permissions, and whether that may pass without approval."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rolekeeper.difference import Difference, in_words
from rolekeeper.effect import Effect
from rolekeeper.limits import Limits
from rolekeeper.model import PublishedMapping
from rolekeeper.policy_reader import PolicyReader
from rolekeeper.surveyor import Surveyor

# Pairs of profiles whose roles are compared, those of the most instances first: each costs a few calls to IAM.
COMPARED = 5
# The most that a reason says of permissions, in characters; of that, why some couldn't be compared.
WORDS, UNKNOWN = 500, 150
# The most phrases of permissions that the history keeps.
PHRASES = 50


@dataclass(frozen=True, slots=True)
class Weight:
    """An edit's effect, with the permissions that instances would gain and lose.

    `fleet` and `allowed` are None as long as the number alone lets it pass, which needs no count of the fleet.
    """

    effect: Effect
    difference: Difference
    fleet: int | None = None
    allowed: int | None = None

    @property
    def too_heavy(self) -> bool:
        """Whether somebody has to approve it."""
        return self.allowed is not None and self.effect.changes > self.allowed

    def __str__(self) -> str:
        """In words, for the row."""
        effect = self.effect
        counts = f"attach {effect.attach:,}, replace {effect.replace:,} and detach {effect.detach:,} instances"
        if self.fleet is not None:
            counts += f" ({effect.changes:,} of {self.fleet:,}; {self.allowed:,} may change without approval)"
        return f"{counts}; {_words(self.difference)}" if effect.changes else counts

    def document(self) -> dict[str, Any]:
        """For the history."""
        effect, difference = self.effect, self.difference
        said = {
            "attach": effect.attach,
            "replace": effect.replace,
            "detach": effect.detach,
            "gained": list(difference.gained[:PHRASES]),
            "lost": list(difference.lost[:PHRASES]),
        }
        return said | ({"unknown": difference.unknown} if difference.unknown else {})


class Scales:
    """Weighs the edits of one invocation."""

    def __init__(self, limits: Limits, surveyor: Surveyor, policies: PolicyReader) -> None:
        self._limits = limits
        self._surveyor = surveyor
        self._policies = policies

    def weigh(self, candidate: PublishedMapping, effect: Effect) -> Weight:
        """Weigh what a candidate (or a tombstone) would do.

        Raises:
            AwsRefusalError: the fleet can't be counted. IAM's refusals are no error: the weight tells them.
        """
        difference = self._difference(candidate, effect)
        if effect.changes <= self._limits.per_edit:
            return Weight(effect, difference)
        fleet = self._surveyor.fleet()
        return Weight(effect, difference, fleet, self._limits.allowed(fleet))

    def _difference(self, candidate: PublishedMapping, effect: Effect) -> Difference:
        found: list[Difference] = []
        for move, _ in effect.moves.most_common(COMPARED):
            # The candidate's own profile may have still to be made; it will hold the candidate's role.
            role = candidate.spec.role if move.after and move.after == candidate.profile_arn else ""
            found.append(self._policies.profile_difference(move.before, move.after, role))
        return Difference(
            gained=_once(phrase for each in found for phrase in each.gained),
            lost=_once(phrase for each in found for phrase in each.lost),
            unknown="; ".join(_once(each.unknown for each in found if each.unknown)),
        )


def _words(difference: Difference) -> str:
    if not difference.unknown or not (difference.gained or difference.lost):
        return in_words(difference, WORDS)
    known = in_words(Difference(difference.gained, difference.lost), WORDS - UNKNOWN)
    return f"{known}; {in_words(Difference(unknown=difference.unknown), UNKNOWN)}"


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
