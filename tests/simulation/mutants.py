"""Deliberate faults in the real code, each of which the simulation has to find, or the tests that a mutant names.

A mutant replaces text of modules as they are imported, and of templates and machines as they are read; a text that
isn't there exactly once is an error, so that none outlives the code that it was made for.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Edit:
    """One replaced text.

    Attributes:
        module: where: a module's name, or a file's path from the top of the repository.
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
        tests: the tests that have to fail with it, as pytest names them, where the simulation can't see it.
    """

    name: str
    edits: tuple[Edit, ...]
    seed: int = 0
    tests: tuple[str, ...] = ()


def _mutant(name: str, module: str, old: str, new: str, seed: int = 0) -> Mutant:
    return Mutant(name, (Edit(module, old, new),), seed)


_TRUSTED = "\n\nTRUSTED: dict[str, dict[str, str]] = {}\n\n\ndef partition_of("
MUTANTS: tuple[Mutant, ...] = (
    # ---- the path ----
    _mutant(
        "changes a foreign role though nobody lets it",
        "rolekeeper.instances.decide",
        "    if foreign and (wanted := _wanted_for_take_over(winner, ownership)):",
        "    if False:",
        seed=6,
    ),
    _mutant(
        "takes a foreign role over where the mapping says keep",
        "rolekeeper.instances.decide",
        "    if not winner.key.pins and winner.spec.when_occupied is WhenOccupied.KEEP:",
        "    if False:",
    ),
    _mutant(
        "takes a foreign role over where the stack says no",
        "rolekeeper.instances.decide",
        "    wanted = [] if ownership.take_over else [",
        "    wanted = [] if True else [",
        seed=16,
    ),
    _mutant(
        "takes every profile for a managed one",
        "rolekeeper.settings",
        "        return profile_arn.startswith(self.prefix)",
        "        return True",
        seed=6,
    ),
    _mutant(
        "gives up what it never gave",
        "rolekeeper.instances.observe",
        "        grant=record.grants.get(association.profile_arn if association else NO_PROFILE),",
        "        grant=record.grants.get(association.profile_arn if association else NO_PROFILE)"
        " or next(iter(record.grants.values()), None),",
        seed=1674,
    ),
    _mutant(
        "changes instances that an AWS service manages",
        "rolekeeper.instances.decide",
        "    if instance.managed_by:",
        "    if False:",
        seed=6,
    ),
    _mutant(
        "publishes a role outside the path",
        "rolekeeper.permissions.roles",
        "        if not role.path.startswith(path):",
        "        if False:",
        seed=233,
    ),
    _mutant(
        "publishes a profile outside the path",
        "rolekeeper.permissions.roles",
        "        if not profile.path.startswith(path):",
        "        if False:",
        seed=394,
    ),
    _mutant(
        "publishes a profile that holds another role",
        "rolekeeper.permissions.roles",
        "        if profile.role_arn != role.arn:",
        "        if False:",
        seed=1,
    ),
    _mutant(
        "gives a broad role",
        "rolekeeper.permissions.roles",
        "        if not (row and stack) and (why := self.broad(role)):",
        "        if False and (why := self.broad(role)):",
    ),
    _mutant(
        "gives a broad role where the row alone allows it",
        "rolekeeper.permissions.roles",
        "        if not (row and stack) and (why := self.broad(role)):",
        "        if not row and (why := self.broad(role)):",
        seed=34,
    ),
    _mutant(
        "gives the role of a mapping that is suspended",
        "rolekeeper.instances.decide",
        "    if winner.suspended_because:",
        "    if False:",
        seed=19,
    ),
    # ---- grants ----
    _mutant(
        "grants nothing", "rolekeeper.instances.records", "grants=() if gives_up else (grant,)", "grants=()", seed=1
    ),
    _mutant(
        "grants only after the call",
        "rolekeeper.instances.apply",
        "            change = records.starting(observed, decision, now)",
        "            change = RecordChange()",
        seed=1,
    ),
    _mutant(
        "one grant overwrites another",
        "rolekeeper.storage.layout",
        "    return GRANT + profile_arn",
        '    return GRANT + "one"',
        seed=1,
    ),
    _mutant(
        "revokes the grants of others",
        "rolekeeper.instances.records",
        "    return RecordChange(grants=() if gives_up else (grant,), revoked=frozenset(stale))",
        "    others = observed.record.grants.keys() - {decision.profile_arn}\n"
        "    return RecordChange(grants=() if gives_up else (grant,), revoked=frozenset(others))",
        seed=22,
    ),
    _mutant(
        "grants to the mapping that gave it before",
        "rolekeeper.instances.records",
        "        grants = (replace(grant, mapping=decision.mapping,",
        "        grants = (replace(grant, mapping=grant.mapping,",
        seed=39,
    ),
    _mutant(
        "asks EC2 before it wrote the start",
        "rolekeeper.instances.apply",
        "                at = self.state.save(request.instance, change, now, entry=entry,",
        '                at = (lambda *_, **__: ("", ""))(request.instance, change, now, entry=entry,',
        seed=1,
    ),
    _mutant(
        "writes an entry that doesn't say that it is started",
        "rolekeeper.instances.apply",
        ' | {"outcome": STARTED}\n',
        "\n",
        seed=1,
    ),
    # ---- in which order, and on what ----
    _mutant(
        "reads what is wished before the association",
        "rolekeeper.instances.observe",
        "    associations = ec2.associations(ids)\n    instances = ec2.instances(ids) if described",
        "    early = ec2.instances(ids)\n    associations = ec2.associations(ids)\n    instances = early if described",
        seed=56,
    ),
    Mutant(
        "trusts the tags in an event",
        (
            Edit("rolekeeper.model.instance", "\n\ndef partition_of(", _TRUSTED),
            Edit(
                "rolekeeper.instances.requests",
                "    if not _INSTANCE_ID.fullmatch(key.id):\n",
                '    __import__("rolekeeper.model.instance", fromlist=[""]).TRUSTED.update(\n'
                '        {key.id: detail["tags"]} if "tags" in detail else {})\n'
                "    if not _INSTANCE_ID.fullmatch(key.id):\n",
            ),
            Edit(
                "rolekeeper.aws.ec2",
                "from rolekeeper.aws.errors import",
                "from rolekeeper.model.instance import TRUSTED\nfrom rolekeeper.aws.errors import",
            ),
            Edit(
                "rolekeeper.aws.ec2", "            tags={tag", '            tags=TRUSTED.get(row["InstanceId"]) or {tag'
            ),
        ),
        seed=34,
    ),
    _mutant(
        "detaches and attaches instead of replacing",
        "rolekeeper.instances.apply",
        "            elif decision.action is Action.REPLACE and not decision.swap:",
        "            elif False:",
        seed=8,
    ),
    _mutant(
        "replaces on a stopped instance",
        "rolekeeper.instances.decide",
        "    if instance.state is InstanceState.RUNNING:\n        reason",
        "    if True:\n        reason",
        seed=66,
    ),
    _mutant(
        "overlooks that a profile was made anew",
        "rolekeeper.instances.decide",
        "    if association and association.profile_arn == winner.profile_arn and not remade:",
        "    if association and association.profile_arn == winner.profile_arn:",
        seed=286,
    ),
    # ---- unreadable means hold ----
    _mutant(
        "changes instances before a sweep came to its end",
        "rolekeeper.model.mapping",
        "        if not self.swept:",
        "        if False:",
        seed=11,
    ),
    _mutant(
        "takes an empty mapping table for deleted rows",
        "rolekeeper.fleet.sweep",
        "        if unseen and empty:",
        "        if False:",
    ),
    _mutant(
        "detaches when the mapping's record is missing",
        "rolekeeper.instances.decide",
        '    if owner is None:\n        return decision(Action.HOLD, "mapping-missing", _missing(grant))',
        '    if owner is None:\n        return decision(Action.DETACH, "unmatched", _missing(grant))',
        seed=1142,
    ),
    _mutant(
        "takes rows that go while they are swept for deleted",
        "rolekeeper.fleet.sweep",
        "self._recheck(key, scans, seen=True)",
        "self._recheck(key, scans, seen=False)",
        seed=841,
    ),
    # ---- how much at once ----
    _mutant(
        "counts no changes",
        "rolekeeper.instances.apply",
        "        mapping = decision.counted_for\n",
        "        mapping = None\n",
        seed=188,
    ),
    _mutant(
        "keeps no pace",
        "rolekeeper.instances.reconcile",
        "if (wait := self.worker.pace.wait(1, now)) or now > batch.ends_by:",
        "if (wait := 0) or now > batch.ends_by:",
        seed=360,
    ),
    Mutant(
        "lets one change too many through",
        (
            Edit(
                "rolekeeper.instances.window",
                "allowed - number + sum(over.values())",
                "allowed - number + 1 + sum(over.values())",
            ),
            Edit(
                "rolekeeper.instances.window",
                "minutes, now) >= self._allowed()",
                "minutes, now) > self._allowed()",
            ),
        ),
        seed=188,
    ),
    _mutant(
        "counts a change for a minute only",
        "rolekeeper.instances.window",
        "last = _minute(now) - minutes - 1",
        "last = _minute(now) - 1",
        seed=191,
    ),
    _mutant(
        "counts the changes of each mapping by itself",
        "rolekeeper.instances.window",
        "        key, budget = layout.changes_key(self.target, quarantines=quarantines), layout.budget_key(mapping)\n",
        '        key, budget = (f"window#0:{mapping}", "window"), layout.budget_key(mapping)\n'
        "        self.known[key] = self.store.get([key]).get(key, {})\n",
        seed=188,
    ),
    Mutant(
        "serves a large edit without approval",
        (
            Edit(
                "rolekeeper.mappings.assess",
                "        if seen.approves(candidate) or not (impact.needs_approval",
                "        if True or not (impact.needs_approval",
            ),
            Edit("rolekeeper.mappings.publish", "if impact.changes and not approved:", "if False:"),
        ),
        seed=3,
    ),
    _mutant(
        "judges each edit by its own number",
        "rolekeeper.mappings.publish",
        "if impact.changes and not approved:",
        "if False:",
        seed=1086,
    ),
    _mutant(
        "takes a number in the row for a signature",
        "rolekeeper.mappings.verdict",
        "self.parsed.approve == number and not self.about_approval(number)",
        "self.parsed.approve == number",
        seed=39,
    ),
    _mutant(
        "takes anybody who is named for one who signed",
        "rolekeeper.mappings.revisions",
        "        return None if item is None else str(",
        "        item = item or {}\n        return str(",
        seed=39,
    ),
    _mutant(
        "lets an editor approve",
        "rolekeeper.model.mapping",
        '    return editor == approver != "" and',
        "    return False and",
        seed=51,
    ),
    Mutant(
        "takes a signature for whatever the row says by now",
        (
            Edit(
                "rolekeeper.mappings.verdict",
                "        if held and held == replace(mapping, revision=held.revision):\n            return held",
                "        if held:\n            return replace(mapping, revision=held.revision)",
            ),
            Edit(
                "rolekeeper.mappings.verdict",
                "        return self._held == candidate.suspended_for(None)",
                "        return self._held is not None and self._held.revision == candidate.revision",
            ),
        ),
        seed=2,
    ),
    Mutant(
        "takes a revision that was published or discarded for held",
        (
            Edit(
                "rolekeeper.mappings.verdict",
                "        return None if self.stored.held and self.stored.held.outcome else self._unpublished",
                "        return self._unpublished",
            ),
            Edit("rolekeeper.mappings.revisions", "update.only_as({}, layout.OUTCOME)", "update"),
        ),
        seed=4,
    ),
    # ---- which mapping ----
    _mutant(
        "lets the highest number win",
        "rolekeeper.instances.decide",
        "key=lambda each: (each.spec.priority, each.key)",
        "key=lambda each: (-each.spec.priority, each.key)",
    ),
    _mutant(
        "takes the first of a tie",
        "rolekeeper.instances.decide",
        "    if len({each.wants for each in top}) > 1:",
        "    if False:",
        seed=38,
    ),
    _mutant(
        "obeys a deleted mapping", "rolekeeper.instances.decide", "    if mapping.deleted:", "    if False:", seed=70
    ),
    _mutant("obeys a disabled mapping", "rolekeeper.instances.decide", "    if not spec.enabled:", "    if False:"),
    _mutant(
        "obeys a mapping that has expired",
        "rolekeeper.instances.decide",
        "    if spec.expired(now):",
        "    if False:",
        seed=64,
    ),
    _mutant(
        "overlooks the tags that are required",
        "rolekeeper.instances.decide",
        "    if missing:",
        "    if False:",
        seed=17,
    ),
    _mutant(
        "overlooks pins",
        "rolekeeper.instances.decide",
        "    if pin and not pin.expired(now):",
        "    if False:",
        seed=36,
    ),
    _mutant(
        "obeys a pin that has expired",
        "rolekeeper.instances.decide",
        "    if pin and not pin.expired(now):",
        "    if pin:",
        seed=19,
    ),
    _mutant(
        "overlooks the tag that excludes an instance",
        "rolekeeper.instances.decide",
        "    if not excluded:",
        "    if True:",
        seed=170,
    ),
    _mutant(
        "detaches though the mapping says keep",
        "rolekeeper.instances.decide",
        "    if owner.spec.when_unmatched is WhenUnmatched.KEEP:",
        "    if False:",
        seed=12,
    ),
    # ---- nothing is lost ----
    _mutant(
        "finds nothing in the fleet by sweeping",
        "rolekeeper.fleet.sweep",
        "        self.result.sent += self.queue.send(differing",
        "        self.result.sent += self.queue.send([]",
        seed=75,
    ),
    _mutant(
        "forgets the rest of a sweep",
        "rolekeeper.fleet.sweep",
        "                elif not swept.finished and not self.resumed:",
        "                elif False:",
        seed=77,
    ),
    _mutant(
        "drops the token with which a sweep goes on",
        "rolekeeper.fleet.sweep",
        "                rest.token = token",
        '                rest.token = ""',
        seed=77,
    ),
    _mutant(
        "goes on behind the row that a sweep has to check next",
        "rolekeeper.fleet.sweep",
        "                rest.row = key\n",
        "                rest.row = keys[-1]\n",
        seed=249,
    ),
    _mutant(
        "forgets the rest of a fan-out",
        "rolekeeper.mappings.publish",
        "        if not done.finished:",
        "        if False:",
        seed=3475,
    ),
    _mutant(
        "drops the token with which a fan-out goes on",
        "rolekeeper.mappings.scan",
        "replace(fan_out, sent=sent, token=token, done=not token, finished=finished)",
        'replace(fan_out, sent=sent, token="", done=not token, finished=finished)',
        seed=211,
    ),
    _mutant(
        "acknowledges what it couldn't finish",
        "on_instance_event",
        "for request in requests if outcomes[request.instance].error]",
        "for request in requests if False]",
        seed=176,
    ),
    _mutant(
        "acknowledges rows that it couldn't judge",
        "runtime",
        '    return {"batchItemFailures": failed}',
        '    return {"batchItemFailures": []}',
        seed=1631,
    ),
    _mutant(
        "starts no retry loop",
        "rolekeeper.instances.records",
        "= self.retries.start(request, now, before.since if before else now)",
        "= datetime.fromtimestamp(now.timestamp() + 3600, now.tzinfo)",
        seed=1956,
    ),
    _mutant(
        "forgets the instances of an edit that was cut short",
        "rolekeeper.mappings.publish",
        "(seen.stored.published if seen.stored.unsent else None)",
        "None",
        seed=398,
    ),
    _mutant(
        "never follows a change",
        "rolekeeper.instances.records",
        "    timers = (follow_up(observed.key, now),)",
        "    timers = ()",
        seed=280,
    ),
    _mutant(
        "sets no timer",
        "rolekeeper.instances.records",
        "    timer = Timer(decision.until, observed.key, follows) if decision.until and watched_until else None",
        "    timer = None",
        seed=188,
    ),
    _mutant(
        "overlooks tag events",
        "rolekeeper.instances.requests",
        "KINDS = (STATE_CHANGE, TAG_CHANGE, REQUESTED)",
        "KINDS = (STATE_CHANGE, REQUESTED)",
        seed=176,
    ),
    _mutant(
        "overlooks launches",
        "rolekeeper.instances.requests",
        "KINDS = (STATE_CHANGE, TAG_CHANGE, REQUESTED)",
        "KINDS = (TAG_CHANGE, REQUESTED)",
        seed=54,
    ),
    _mutant(
        "tells no instance of a new revision",
        "rolekeeper.aws.queue",
        "self.now(), **named) for key in instances)",
        'self.now(), **named) for key in instances if not cause.startswith("mapping changed"))',
        seed=29,
    ),
    # ---- what is written ----
    _mutant(
        "says the same again and again",
        "rolekeeper.instances.records",
        "    if shown and not watched_until:",
        "    if False:",
        seed=3,
    ),
    _mutant(
        "goes on showing what is over",
        "rolekeeper.instances.records",
        "    clears = record.condition is not None\n",
        "    clears = False\n",
        seed=0,
    ),
    _mutant(
        "writes where nothing is to be said",
        "rolekeeper.instances.records",
        "    clears = record.condition is not None\n",
        "    clears = True\n",
        seed=1,
    ),
    _mutant(
        "keeps the records of instances that ended",
        "rolekeeper.instances.records",
        "        return RecordChange(ends=observed.recorded,",
        "        return RecordChange(ends=False,",
        seed=6,
    ),
    # ---- targets ----
    _mutant(
        "looks for every instance in the hub's own account",
        "rolekeeper.app",
        "return hub if target == hub.settings.target else replace(hub, settings=hub.settings.at(target), hub=hub)",
        "return hub",
    ),
    _mutant(
        "decides in a spoke by what is published for the hub's account",
        "rolekeeper.app",
        """account = self.settings.account if elsewhere else \"\"""",
        """account = \"\"""",
    ),
    _mutant(
        "takes a spoke's own roles for foreign",
        "rolekeeper.settings",
        "return replace(self, account=target.account, region=target.region)",
        "return replace(self, region=target.region)",
    ),
    _mutant(
        "publishes the hub's profile for every account",
        "rolekeeper.permissions.roles",
        "made = PublishedMapping(spec, mapping.revision, arn)",
        "made = PublishedMapping(spec, mapping.revision, mapping.profile_arn)",
    ),
    _mutant(
        "leaves the instances of other targets to nobody at a sweep",
        "rolekeeper.fleet.target_sweep",
        "                    self.tasks.start(Task.SWEEP, correlation_id, served.target)\n",
        "",
    ),
    _mutant(
        "publishes in other accounts once, and never what changes",
        "rolekeeper.mappings.copies",
        "        if before is None or before.content != copy.content:",
        "        if before is None:",
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


def named(name: str) -> Mutant:
    """A mutant by its name."""
    from simulation.tested_mutants import TESTED  # noqa: PLC0415  # it is made of this module's classes

    return next(each for each in (*MUTANTS, *TESTED) if each.name == name)


def become(mutant: Mutant) -> None:
    """Import the code as this mutant from now on.

    Raises:
        ValueError: some of it is imported already.
    """
    if early := [edit.module for edit in mutant.edits if edit.module in sys.modules]:
        raise ValueError(f"imported already: {', '.join(early)}")
    sys.meta_path.insert(0, Finder(mutant))
    _read_edited([edit for edit in mutant.edits if (ROOT / edit.module).is_file()])


def _read_edited(edits: Sequence[Edit]) -> None:
    """Have the files of these edits read as the mutant has them."""
    read_text = Path.read_text

    def edited_text(path: Path, *args: Any, **kwargs: Any) -> str:
        text = read_text(path, *args, **kwargs)
        for edit in edits:
            if path.resolve() == ROOT / edit.module:
                text = edited(text, edit)
        return text

    if edits:
        Path.read_text = edited_text  # type: ignore[method-assign, assignment]
