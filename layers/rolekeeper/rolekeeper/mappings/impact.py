"""What a new revision would do to the instances with its tag, and whether that needs approval.

`decide` is asked twice for each: with what is published now, and with the candidate in its place. The instance counts
as running and its association as settled, so that what would only wait, or is withheld, is counted too.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from rolekeeper.instances.decide import ENDED, Case, decide
from rolekeeper.instances.observe import Observation
from rolekeeper.model.instance import NO_PROFILE, Action, AssociationState, Candidates, Decision, InstanceState
from rolekeeper.model.mapping import PublishedMapping
from rolekeeper.permissions import Difference
from rolekeeper.permissions.compare import as_many, in_words
from rolekeeper.settings import Ownership

# The most pairs of profiles that are told apart; instances beyond them are counted all the same.
MOVES = 50
# The most that a reason says of permissions, in characters; of that, why some couldn't be compared.
WORDS, UNKNOWN = 500, 150
# The most that history and events keep of permissions: phrases, and characters of each.
PHRASES, PHRASE = 50, 500

type Ranked = tuple[PublishedMapping | None, Candidates]
"""A mapping (or its tombstone), and the mappings for an instance ranked with it."""


@dataclass(slots=True)
class Impact:
    """How many instances a revision would change, and from which profile to which, by ARN.

    The rest is known once it is compared: the permissions gained and lost, which of the gained are `severe`, how many
    other edits `took` in the last `minutes`, how many are `allowed` without approval, and the `fleet`, where the number
    alone doesn't let it pass.
    """

    attach: int = 0
    replace: int = 0
    detach: int = 0
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    difference: Difference = Difference()  # noqa: RUF009  # frozen
    severe: tuple[str, ...] = ()
    took: int = 0
    minutes: int = 0
    fleet: int | None = None
    allowed: int = 0

    @property
    def changes(self) -> int:
        return self.attach + self.replace + self.detach

    @property
    def takes(self) -> int:
        """Those of them that carry a role which they would lose."""
        return self.replace + self.detach

    def add(self, observed: Observation, published: Ranked, candidate: Ranked, ownership: Ownership) -> None:
        """Add one instance, as it is decided with what is published and with the candidate in its place."""
        if observed.instance is None or observed.instance.state in ENDED:
            return
        association, grant = observed.association, observed.grant
        if association and association.state is AssociationState.DISASSOCIATING:
            # As it will be once EC2 is done.
            association, grant = None, observed.record.grants.get(NO_PROFILE)
        running = replace(observed.instance, state=InstanceState.RUNNING)

        def decided(mapping: PublishedMapping | None, candidates: Candidates) -> Decision:
            known = {each.key: each for each in (*observed.published, observed.owner, mapping) if each}
            owner = known.get(grant.mapping) if grant else None
            return decide(Case(running, association, grant, candidates, owner, ownership))

        now, then = decided(*published), decided(*candidate)
        action = then.action
        if then.code == "mapping-missing" and now.code != then.code and association:
            # What gave the role can't be found, and the candidate no longer keeps it: to repair that record detaches.
            action = Action.DETACH
        elif not action.mutates or (action, then.profile_arn) == (now.action, now.profile_arn):
            # It would happen anyway, or nothing would.
            return
        self.attach += action is Action.ATTACH
        self.replace += action is Action.REPLACE
        self.detach += action is Action.DETACH
        move = (association.profile_arn if association else "", "" if action is Action.DETACH else then.profile_arn)
        # Of what is beyond, only what it gives is kept.
        self.moves[move if move in self.moves or len(self.moves) < MOVES else ("", move[1])] += 1

    @property
    def needs_approval(self) -> bool:
        return bool(self.severe) or self.exceeds

    @property
    def exceeds(self) -> bool:
        """Whether it changes more instances than may change without approval."""
        return self.changes > 0 and self.changes + self.took > self.allowed

    def __str__(self) -> str:
        counts = f"attach {self.attach:,}, replace {self.replace:,} and detach {self.detach:,} instances"
        if self.fleet is not None:
            others = f", and other edits changed {self.took:,} in the last {self.minutes} minutes" if self.took else ""
            number = f"{self.changes + self.took:,} of {self.fleet:,}"
            counts += f"{others} ({number}; {self.allowed:,} may change without approval)"
        if self.severe:
            counts = f"{as_many('give severe permissions:', self.severe, WORDS)}; it would {counts}"
        return f"{counts}; {_words(self.difference)}" if self.changes else counts

    def document(self) -> dict[str, Any]:
        """For the history and the event."""
        counts = {"attach": self.attach, "replace": self.replace, "detach": self.detach}
        gained, lost, unknown = self.difference.gained, self.difference.lost, self.difference.unknown
        named = {"gained": gained, "lost": lost, **({"severe": self.severe} if self.severe else {})}
        shown = {name: [each[:PHRASE] for each in phrases[:PHRASES]] for name, phrases in named.items()}
        return counts | shown | ({"unknown": unknown[:PHRASE]} if unknown else {})


def _words(difference: Difference) -> str:
    if not difference.unknown or not (difference.gained or difference.lost):
        return in_words(difference, WORDS)
    known = in_words(Difference(difference.gained, difference.lost), WORDS - UNKNOWN)
    return f"{known}; {in_words(Difference(unknown=difference.unknown), UNKNOWN)}"
