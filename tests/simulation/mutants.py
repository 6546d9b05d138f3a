"""Deliberate faults in the real code, each of which the simulation has to find.

A mutant replaces text of modules as they are imported; a text that isn't there exactly once is an error, so that none
outlives the code that it was made for.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType


@dataclass(frozen=True)
class Edit:
    """One replaced text.

    Attributes:
        module: where.
        old: what is there, exactly once.
        new: what takes its place.
    """

    module: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A deliberate fault.

    Attributes:
        name: what is wrong with it.
        edits: where.
        seed: one that found it, to be played first: a rare fault needs thousands of schedules.
    """

    name: str
    edits: tuple[Edit, ...]
    seed: int = 0


def _mutant(name: str, module: str, old: str, new: str, seed: int = 0) -> Mutant:
    return Mutant(name, (Edit(module, old, new),), seed)


_TRUSTED = "\n\nTRUSTED: dict[str, dict[str, str]] = {}\n\n\ndef parse("
MUTANTS: tuple[Mutant, ...] = (
    # ---- what is ours ----
    _mutant(
        "takes whatever is there for what an intent meant",
        "rolekeeper.ownership",
        "        and intent.target_profile_arn == association.profile_arn\n",
        "",
        seed=1085,
    ),
    _mutant(
        "replaces where the mapping says keep",
        "rolekeeper.decide",
        "    if not assignment and spec.when_occupied is WhenOccupied.KEEP:",
        "    if False:",
    ),
    _mutant(
        "takes what it gave back for its own",
        "rolekeeper.change",
        "    if decision.gives_back or decision.swap:",
        "    if decision.swap:",
    ),
    _mutant("one intent overwrites another", "rolekeeper.change", "id=uuid.uuid4().hex[:16]", 'id="intent"'),
    _mutant(
        "keeps for ever what nobody knows the end of",
        "rolekeeper.ownership",
        "(bool(moved_on) and not swapping) or asked_at - intent.at > IN_FLIGHT",
        "(bool(moved_on) and not swapping)",
    ),
    _mutant(
        "no call is ever still in flight",
        "rolekeeper.ownership",
        "IN_FLIGHT = timedelta(minutes=20)",
        "IN_FLIGHT = timedelta()",
    ),
    _mutant(
        "forgets an assignment that only an intent proves",
        "rolekeeper.observe",
        "        return None if _in_vain(ours, decision) else self.unrecorded",
        "        return None",
    ),
    # ---- in which order, and on what ----
    _mutant(
        "reads what is wished before the association",
        "rolekeeper.observe",
        "    associations = ec2.associations(ids)\n"
        "    return complete(keys, associations, ec2.instances(ids), state, now)",
        "    instances = ec2.instances(ids)\n    return complete(keys, ec2.associations(ids), instances, state, now)",
        seed=294,
    ),
    Mutant(
        "trusts the tags in an event",
        (
            Edit("rolekeeper.events", "\n\ndef parse(", _TRUSTED),
            Edit(
                "rolekeeper.events",
                "    key, cause = reader(message, detail)\n",
                "    key, cause = reader(message, detail)\n"
                '    TRUSTED.update({key.id: detail["tags"]} if "tags" in detail else {})\n',
            ),
            Edit(
                "rolekeeper.ec2",
                "from rolekeeper.errors import",
                "from rolekeeper.events import TRUSTED\nfrom rolekeeper.errors import",
            ),
            Edit("rolekeeper.ec2", "            tags={tag", '            tags=TRUSTED.get(row["InstanceId"]) or {tag'),
        ),
    ),
    _mutant(
        "reads again a mapping that it didn't find",
        "rolekeeper.observe",
        "orphans - asked - set(over)",
        "orphans - set(snapshot.published) - set(over)",
        seed=264,
    ),
    _mutant(
        "detaches and attaches instead of replacing",
        "rolekeeper.change",
        "        if decision.action is Action.REPLACE and not decision.swap:",
        "        if False:",
    ),
    _mutant(
        "asks EC2 before it wrote its intent",
        "rolekeeper.change",
        "                self.state.open_intent(\n",
        "                (lambda *_, **__: None)(\n",
    ),
    _mutant(
        "replaces on a stopped instance",
        "rolekeeper.decide",
        '    if instance.state is InstanceState.RUNNING:\n        return decision(Action.REPLACE, "differs"',
        '    if True:\n        return decision(Action.REPLACE, "differs"',
    ),
    # ---- unreadable means hold ----
    _mutant(
        "takes keys that were not read for absent",
        "rolekeeper.store",
        "                if not wanted:",
        "                if True:",
        seed=262,
    ),
    _mutant(
        "takes an empty mapping table for deleted rows",
        "rolekeeper.sweep",
        "        if unseen and empty:",
        "        if False:",
    ),
    _mutant(
        "detaches when the mapping's record is missing",
        "rolekeeper.decide",
        '    if owner is None:\n        return decision(Action.HOLD, "mapping-missing", _missing(assignment))',
        '    if owner is None:\n        return decision(Action.DETACH, "unmatched", _missing(assignment))',
        seed=69,
    ),
    _mutant(
        "takes rows that go while they are swept for deleted",
        "rolekeeper.sweep",
        "surveys, whole=whole, seen=True)",
        "surveys, whole=whole, seen=False)",
        seed=3807,
    ),
    # ---- the ceiling ----
    _mutant(
        "serves a role outside the path",
        "rolekeeper.roles",
        "        if not role.path.startswith(self._path):",
        "        if False:",
        seed=415,
    ),
    _mutant(
        "gives back what lies outside the path",
        "rolekeeper.change",
        "    if decision.gives_back and not may_restore(decision.profile_arn):",
        "    if False:",
    ),
    # ---- how much at once ----
    _mutant(
        "counts no changes",
        "rolekeeper.change",
        "        mapping = _counted_for(decision)\n        room =",
        "        mapping = None\n        room =",
    ),
    _mutant("lets one change too many through", "rolekeeper.window", '"total", "<", allowed', '"total", "<=", allowed'),
    _mutant(
        "serves a large edit without approval",
        "rolekeeper.publish",
        "        if not approved and (weight.too_heavy",
        "        if False and (weight.too_heavy",
        seed=559,
    ),
    # ---- which mapping ----
    _mutant(
        "lets the highest number win",
        "rolekeeper.resolve",
        "key=lambda each: (each.spec.priority, each.key)",
        "key=lambda each: (-each.spec.priority, each.key)",
    ),
    _mutant(
        "takes the first of a tie",
        "rolekeeper.resolve",
        "    if {_wish(each) for each in top} != {_wish(first)}:",
        "    if False:",
    ),
    _mutant("obeys a deleted mapping", "rolekeeper.resolve", "    if mapping.deleted:", "    if False:"),
    _mutant("obeys a mapping that has expired", "rolekeeper.resolve", "    if spec.expired(now):", "    if False:"),
    _mutant("overlooks pins", "rolekeeper.resolve", "    if pin and not pin.expired(now):", "    if False:"),
    # ---- nothing is lost ----
    _mutant(
        "finds nothing in the fleet by sweeping",
        "rolekeeper.sweep",
        "            swept.sent += self.queue.send(differing",
        "            swept.sent += self.queue.send([]",
    ),
    _mutant(
        "acknowledges what it couldn't finish",
        "on_instance_event",
        "for wake in wakes if outcomes[wake.instance].error]",
        "for wake in wakes if False]",
        seed=176,
    ),
    _mutant(
        "starts no retry loop",
        "rolekeeper.reconcile",
        "        return self.retries.start(wake, now), True",
        "        return now + timedelta(hours=1), True",
        seed=2206,
    ),
    _mutant(
        "overlooks tag events",
        "rolekeeper.events",
        '    ("aws.tag", "Tag Change on Resource"): _tag_change,\n',
        "",
    ),
    _mutant(
        "tells no instance of a new revision",
        "rolekeeper.work",
        "        for batch in batched(instances, ENTRIES, strict=False):",
        '        told = () if cause.startswith("mapping changed") else instances\n'
        "        for batch in batched(told, ENTRIES, strict=False):",
    ),
    # ---- what is written ----
    _mutant(
        "says the same again and again",
        "rolekeeper.reconcile",
        "        if not said or starts or unchanged.closed or proven:",
        "        if True:",
    ),
    _mutant(
        "closes intents without a word in the history",
        "rolekeeper.announce",
        "    changes = [_begun(intent) for intent in closes]",
        "    changes = list[dict[str, Any]]()",
        seed=177,
    ),
)


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  # importlib's own
        """The mutant's code; never from a cache."""
        text = self.get_data(self.path).decode()
        for edit in self._edits:
            text = edited(text, edit)
        return compile(text, self.path, "exec")


class Finder(MetaPathFinder):
    """Imports the modules of a mutant with its edits; to be put first into `sys.meta_path`."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module with edits; None for all others."""
        edits = [edit for edit in self._mutant.edits if edit.module == fullname]
        spec = PathFinder.find_spec(fullname, path, target) if edits else None
        if spec is None or spec.origin is None:
            return None
        spec.loader = _Loader(fullname, spec.origin, edits)
        return spec


def edited(text: str, edit: Edit) -> str:
    """A module's text with an edit.

    Raises:
        ValueError: what it replaces isn't there exactly once.
    """
    if (count := text.count(edit.old)) != 1:
        raise ValueError(f"{edit.module} holds this {count} times, not once: {edit.old!r}")
    return text.replace(edit.old, edit.new)


def become(name: str) -> Mutant:
    """Import the code as this mutant from now on; returns it.

    Raises:
        ValueError: some of it is imported already.
    """
    mutant = next(each for each in MUTANTS if each.name == name)
    if early := [edit.module for edit in mutant.edits if edit.module in sys.modules]:
        raise ValueError(f"imported already: {', '.join(early)}")
    sys.meta_path.insert(0, Finder(mutant))
    return mutant
