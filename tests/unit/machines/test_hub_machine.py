"""A hub's rows over targets of very different sizes: edited, cut off, retried, swept, approved, discarded.

What instances carry is compared before and after each step, by docs/mappings.md ("When an edit is held") and promises
7 and 12 of docs/guarantees.md: no function of the code under test says here how much may change.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fixtures.account import ACCOUNT, mapping_key, refusing
from fixtures.organization import OTHER, SAME_ACCOUNT, SPOKE, new_organization
from fixtures.organization_desk import OrganizationDesk
from rolekeeper.aws.errors import RetryableError
from rolekeeper.instances.reconcile import Pace
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper.settings import ContentionRule, Limits
from strategies.happenings import at_most

SIZES = {SPOKE: 3, SAME_ACCOUNT: 8, OTHER: 30}
# Which instances of a target have a row's tag: each, the first of every six, of every four. Of 41 eight may change, and
# the last two rows are for eight: the one for as many as may of each target, the other for too many of a single one.
ROWS = {"workload=web": dict.fromkeys(SIZES, 1), "tier=front": dict.fromkeys(SIZES, 6), "team=few": {OTHER: 4}}
EDIT, PERCENT, WINDOW = 2, 20, timedelta(minutes=10)
WHOLE = re.compile(r"\((?:(\d+) of (\d+); (\d+)|(\d+) together; (\d+) of (\d+)) may change")
ALONE = re.compile(r"of the (\d+) in (\S+) it would change (\d+) \((\d+) may")

rows, targets = st.sampled_from(sorted(ROWS)), st.sampled_from(sorted(SIZES))
columns = st.none() | st.fixed_dictionaries(
    {
        "role": st.sampled_from(["web", "db"]),
        "priority": st.sampled_from([10, 10, 20]),
        "enabled": st.sampled_from([True, True, False]),
    },
    optional={"accounts": st.sampled_from([{SPOKE.account}, {OTHER.account}, {ACCOUNT, SPOKE.account}])},
)
# What gives no answer the first time: the stream's retry comes with a new process.
cuts = st.sampled_from(["", "", "TransactWriteItems", "SendMessageBatch", "UpdateItem"])


def allowed(instances: int) -> int:
    return max(EDIT, instances * PERCENT // 100)


def fits(counted: Iterable[tuple[datetime, int]], most: int) -> bool:
    """Whether no window has more."""
    times = sorted(counted)
    return all(sum(n for at, n in times if begun <= at < begun + WINDOW) <= most for begun, _ in times)


class Hub(RuleBasedStateMachine):
    """See the module. The model: what changed without approval, what waits, and what each number stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = ExitStack()
        self.desk = OrganizationDesk(self.closing.enter_context(new_organization()))
        self.desk.limits, self.world = Limits(EDIT, PERCENT), self.desk.world
        self.world.limits, self.world.contention = Limits(1000, 100), ContentionRule(1000)
        self.instances: dict[Target, list[str]] = {target: [] for target in SIZES}
        self.swept = Counter[Target]()
        self.silent: set[Target] = set()
        self.unapproved: list[tuple[datetime, int]] = []
        # By row: when its revision was published, how many changes of that a person saw; what is held, and undisturbed.
        self.edited: dict[str, datetime] = {}
        self.approved = Counter[str]()
        self.revisions: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        self.at_rest: set[str] = set()
        self.signed: set[tuple[str, int]] = set()
        self.shown: dict[tuple[str, int], int] = {}
        self.content: dict[tuple[str, int], object] = {}
        self.dropped: set[tuple[str, int]] = set()

    @initialize(edits=st.integers(8, 10))
    def begin(self, edits: int) -> None:
        for role in ("web", "db"):
            self.desk.role(role)
            self.world.profile(role)
        for target in SIZES:
            self.desk.join(target, "web", "db")
            self.world.kept[f"pace {target.account}/{target.region}"] = Pace(1000, self.now, burst=1000)
        for number in range(edits):
            self.desk.edit("tier=front", role="web", enabled=False, owner=str(number))
            self._look("tier=front")
        for target, size in SIZES.items():
            for _ in range(size):
                self._launch(target)
            self._note_sweep(target)

    # ---- what people do, and what strikes ----

    @rule(tag=rows, columns=columns, cut=cuts)
    def edit(self, tag: str, columns: dict[str, Any] | None, cut: str) -> None:
        if columns is None:
            self.desk.delete(tag)
        else:
            self.desk.put(tag, **columns)
        self._publish(tag, cut)

    @rule(tag=rows, approves=st.booleans(), cut=cuts)
    def decide(self, tag: str, cut: str, *, approves: bool) -> None:
        number, before = self.held.get(tag), self.desk.served(tag)
        if number and approves:
            self.signed.add((tag, number))
            self.desk.sign(tag, number)
            self._publish(tag, cut, self.desk.hears)
        elif number and not self.world.revisions.read(mapping_key(tag)).held_again:
            self.desk.take_back(tag)
            self._publish(tag, cut)
            self.dropped.add((tag, number))
            assert (self.desk.served(tag), self.held.get(tag)) == (before, None)

    @rule(at=targets)
    def fall_silent_or_answer(self, at: Target) -> None:
        calls = self.desk.spoke(at).calls

        def refuse() -> None:
            calls.before("DescribeInstances", refuse)
            refusing("RequestLimitExceeded")()

        self.silent ^= {at}
        self.at_rest.clear()
        if at in self.silent:
            calls.before("DescribeInstances", refuse)
        else:
            calls.forget()

    @rule(at=targets, by=st.sampled_from([-2, 1, 15]))
    def grow_or_shrink(self, at: Target, by: int) -> None:
        """What is launched gets its role at once: no edit is counted for it."""
        self.at_rest.clear()
        for _ in range(by if at not in self.silent else 0):
            self.desk.organization.reconcile(self.desk.spoke(at).key(self._launch(at)))
        for _ in range(min(-by, len(self.instances[at]) - 1)):
            self.desk.spoke(at).truth.terminate(self.instances[at].pop())

    @rule(minutes=st.integers(1, 12))
    def time_passes(self, minutes: int) -> None:
        self.desk.organization.wait(minutes=minutes)

    @rule(at=targets)
    def sweep(self, at: Target) -> None:
        if at not in self.silent:
            self._note_sweep(at)
        for tag in ROWS:
            self._follows(tag, partial(self.desk.sweep, at, tag))

    @rule()
    def sweep_rows(self) -> None:
        """The hub's own sweep: what is held stays held, whatever time has passed."""
        for tag in ROWS:
            before = self.held.get(tag) if tag in self.at_rest else None
            self._follows(tag, partial(self.desk.recheck, tag))
            assert before in (None, self.held.get(tag))

    # ---- what holds ----

    @invariant()
    def a_number_stands_for_one_content_for_good(self) -> None:
        for tag in ROWS:
            held = self.desk.held(tag)
            for mapping in filter(None, (self.desk.served(tag), held.mapping if held else None)):
                said = (mapping.spec, mapping.deleted)
                assert self.content.setdefault((tag, mapping.revision), said) == said

    def teardown(self) -> None:
        for tag in ROWS:
            numbers = [each["revision"] for each in self.desk.revisions(tag)]
            assert numbers == sorted(set(numbers)), "the eleventh comes after the tenth"
            assert self.dropped.isdisjoint((tag, number) for number in numbers)
        self.closing.close()

    # ---- how ----

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    def _launch(self, at: Target) -> str:
        number = len(self.instances[at])
        tags = dict(tag.split("=") for tag, every in ROWS.items() if at in every and number % every[at] == 0)
        self.instances[at].append(self.desk.spoke(at).running(**tags))
        return self.instances[at][-1]

    def _note_sweep(self, at: Target) -> None:
        self.swept[at] = len(self.instances[at])
        self.desk.join(at, instances=self.swept[at])
        self.world.swept(fleet=self.swept.total())

    def _sizes(self) -> dict[Target, tuple[int, int]]:
        """The least and the most instances that each has, as it is known."""
        counts = {target: (len(ids), self.swept[target]) for target, ids in self.instances.items()}
        return {target: (min(each), max(each)) for target, each in counts.items()}

    def _publish(self, tag: str, cut: str = "", judge: Callable[[str], object] | None = None) -> None:
        judge = judge or self.desk.publish
        self.at_rest.clear()
        if cut:
            self.world.calls.before(cut, refusing("ThrottlingException"))
            self._follows(tag, partial(judge, tag))
            self.world.calls.forget()
        assert self._follows(tag, partial(judge, tag))

    def _follows(self, tag: str, judge: Callable[[], object]) -> bool:
        """Have a row judged, and what it sends reconciled; what instances got or lost by that may be."""
        before, published = self._carried(), self.edited.get(tag)
        try:
            judge()
        except RetryableError:
            done = False
        else:
            done = True
        published_now = self._look(tag)
        sent = {
            InstanceKey(each["account"], each["region"], each["detail"]["instance-id"]) for each in self.desk.sent()
        }
        assert {key.target for key in sent}.isdisjoint(self.silent)
        self.desk.organization.reconcile(*sorted(sent))
        self.desk.organization.wait(seconds=5)
        after = self._carried()
        changes = Counter(target for target, instance in before if before[target, instance] != after[target, instance])
        sizes, seen = self._sizes(), min(self.approved[tag], changes.total())
        self.approved[tag] -= seen
        if not seen:
            assert all(number <= allowed(sizes[target][1]) for target, number in changes.items()), "of each alone"
        if more := changes.total() - seen:
            most = allowed(sum(size for _, size in sizes.values()))
            times = [self.now] if published_now or not published else [published, self.now]
            ways = [[*self.unapproved, (at, more)] for at in times]
            self.unapproved = next(way for way in ways if fits(way, most))
        return done

    def _look(self, tag: str) -> bool:
        """See what a row says is published, or is held and why; returns whether another revision is published."""
        served, before, row = self.desk.served(tag), self.held.pop(tag, 0), self.desk.row(tag)
        if number := int(row.get("held_revision", 0)):
            held = self.desk.held(tag)
            assert held is not None
            assert (tag, number) not in self.dropped
            self.shown.setdefault((tag, number), held.changes)
            if row["status"] == Status.HELD and row["status_reason"] != self.reasons.get(tag):
                # One that was written before says what was counted then.
                self._has_reason(row["status_reason"])
                self.reasons[tag] = row["status_reason"]
            self.held[tag] = number
            self.at_rest.add(tag)
            if before and number > before:
                self.dropped.add((tag, before))
        if served is None or served.revision == self.revisions.get(tag):
            return False
        self.revisions[tag], self.edited[tag], signed = served.revision, self.now, (tag, served.revision)
        self.approved[tag] = self.shown[signed] if signed in self.signed else 0
        return True

    def _has_reason(self, reason: str) -> None:
        """A row is held for too much of all instances or of one target's, or where nobody answers."""
        sizes = self._sizes()
        alone = ALONE.findall(reason)
        for size, name, changes, may in alone:
            least, most = next(each for target, each in sizes.items() if str(target) == name)
            assert least <= int(size) <= most
            assert int(may) == allowed(int(size)) < int(changes)
        unanswered = "gave no answer" in reason or "it would have changed" in reason
        if not (found := WHOLE.search(reason)):
            assert unanswered, reason
            return
        number, fleet, may = (int(each) for each in found.groups() if each)
        if "together" in reason:
            may, fleet = fleet, may
        assert sum(least for least, _ in sizes.values()) <= fleet <= sum(most for _, most in sizes.values())
        assert may == allowed(fleet)
        assert number > may or alone or unanswered

    def _carried(self) -> dict[tuple[Target, str], str]:
        return {(at, each): self.desk.spoke(at).carries(each) for at, ids in self.instances.items() for each in ids}


def test_what_changes_unapproved_is_bounded_by_all_instances_and_by_each_targets_own() -> None:
    run_state_machine_as_test(Hub, settings=at_most(150, 30))
