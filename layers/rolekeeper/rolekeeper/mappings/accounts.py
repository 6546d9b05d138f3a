"""All targets as mappings see them: which a mapping is for, what is published in each account, and asking one.

Each account has its own IAM, so each account in a mapping's scope has a record of the same revision and spec, with its
own instance profile. If the role can't be used there, the record says why, and instances stay as they are. The record
of the deployment's own account, `home`, is what is in effect. Another target that gives no answer delays nothing: its
account's record stays as it was until its own sweep has counted what an update changes there.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from rolekeeper.aws import MapConcurrently
from rolekeeper.aws.errors import AwsRefusalError, RetryableError
from rolekeeper.mappings.findings import AccountVerdict
from rolekeeper.mappings.impact import Edit, Impact, ImpactScanner, Scan, gains, gives_up
from rolekeeper.mappings.revisions import AccountRecord, StoredMapping
from rolekeeper.model.instance import Target
from rolekeeper.model.mapping import MappingSpec, PublishedMapping
from rolekeeper.permissions.comparison import Gain
from rolekeeper.permissions.roles import RoleCheck, Roles

type Records = Mapping[str, AccountRecord]


@dataclass(frozen=True)
class TargetScope:
    """A target as mappings see it: its account's roles, and the scanner of its instances.

    Its last sweep counted `instances`: how many one has that was never `swept` isn't known. `unit` is its unit in the
    organization, if it says one.
    """

    target: Target
    roles: Roles
    scanner: ImpactScanner
    instances: int = 0
    unit: str = ""
    swept: bool = True

    def is_in(self, spec: MappingSpec) -> bool:
        return spec.covers(self.target.account, self.target.region, self.unit)


@dataclass(frozen=True, slots=True)
class AssessmentContext:
    """What accounts are asked about an edit: a mapping, or its tombstone, for the place of what is `stored`.

    `given` are the profiles that the mapping gave so far, read if the edit takes those that it left with other
    instances; `found` is what a sweep counted just now. EC2 is asked only in the accounts `scans_in`, if they are
    given. If one account `alone` is in the scope, a role that can't be used there changes nothing.
    """

    mapping: PublishedMapping
    stored: StoredMapping
    at: datetime
    given: Callable[[], frozenset[str]] = frozenset
    found: Mapping[Target, Scan] = field(default_factory=dict)
    scans_in: Collection[str] | None = None
    alone: bool = False
    in_time: Callable[[], bool] = lambda: True

    def takes_left_roles(self, before: AccountRecord | None) -> bool:
        """Return whether the edit takes, in an account, the roles that the mapping left with other instances."""
        former = [record.mapping for record in (self.stored.records.get(self.stored.home), before) if record]
        return any(gives_up(mapping.spec, self.mapping.spec) for mapping in former)


@dataclass(frozen=True)
class AllTargets:
    """All targets: the deployment's `own`; `listed` returns those of the registry, `at` makes one that isn't there.

    Make a new one for each invocation: it asks one that gave no answer only once. The own one has to answer.
    """

    own: TargetScope
    listed: Callable[[], Sequence[TargetScope]]
    at: Callable[[Target], TargetScope]
    map_concurrently: MapConcurrently
    _refused: dict[str | Target, AwsRefusalError] = field(default_factory=dict, init=False)

    @cached_property
    def all(self) -> list[TargetScope]:
        others = (one for one in self.listed() if one.target != self.home)
        return [self.own, *sorted(others, key=lambda one: one.target)]

    @cached_property
    def home(self) -> Target:
        return self.own.target

    @cached_property
    def accounts(self) -> dict[str, Roles]:
        """The roles of each account, `home`'s first."""
        return {one.target.account: one.roles for one in self.all}

    @cached_property
    def several(self) -> bool:
        return len(self.all) > 1

    def of(self, target: Target) -> TargetScope:
        return next((one for one in self.all if one.target == target), None) or self.at(target)

    @cached_property
    def _by_account(self) -> Mapping[str, list[TargetScope]]:
        found: dict[str, list[TargetScope]] = {}
        for one in self.all:
            found.setdefault(one.target.account, []).append(one)
        return found

    def of_account(self, account: str) -> list[TargetScope]:
        return self._by_account.get(account, [])

    def in_scope(self, spec: MappingSpec) -> list[str]:
        """Return the accounts in a mapping's scope. If there is only one, its role is checked in any case."""
        if not (self.several or spec.units):
            return [self.home.account]
        return sorted({one.target.account for one in self.all if one.is_in(spec)})

    def allows(self, account: str, spec: MappingSpec) -> bool:
        """Return whether an account is in one of a mapping's units, if it names some."""
        return any(spec.allows_unit(one.unit) for one in self.of_account(account))

    def stale(self, spec: MappingSpec, stored: StoredMapping) -> set[str]:
        """Return the accounts, but `home`'s, whose records of a published mapping are missing or outdated.

        Of those out of its scope, too: there it is in effect as it was.
        """
        in_scope = {*self.in_scope(spec)}
        concerned = in_scope | (stored.records.keys() & self.accounts.keys())
        stale = {account for account in concerned if stored.is_stale(account, in_scope=account in in_scope)}
        return stale - {self.home.account}

    def uncounted(self, spec: MappingSpec, stored: StoredMapping) -> set[str]:
        """Return the stale accounts in which nobody counted what it changes, and no verdict is being carried out."""
        return self.stale(spec, stored) - stored.publishing

    def of_unclear_units(self, spec: MappingSpec) -> list[str]:
        """List the accounts that say too little of their units to tell whether a mapping is for them."""
        if not (spec.units or spec.not_units):
            return []
        others = [one for one in self.all if one.target.account != self.home.account and spec.is_unclear(one.unit)]
        unclear = {one.target for one in others if spec.covers(one.target.account, one.target.region, None)}
        return sorted({target.account for target in unclear})

    # ---- asking an account ----

    def check(self, account: str, spec: MappingSpec) -> RoleCheck:
        """Check a mapping's role in an account; an AwsRefusalError says that its IAM gave no answer."""
        if account in self._refused:
            raise self._refused[account]
        try:
            return self.accounts[account].check(spec)
        except AwsRefusalError as error:
            self._keep(account, error)
            raise

    def _keep(self, whose: str | Target, error: AwsRefusalError) -> None:
        """Keep what an account or a target refused, so that it isn't asked again; the own one has to answer."""
        if whose not in (self.home, self.home.account):
            self._refused[whose] = error

    def judge_in(self, account: str, context: AssessmentContext, asked: Iterable[TargetScope]) -> AccountVerdict:
        """Judge an edit in one account: ask its IAM about the role, and EC2 in the `asked` of its targets.

        Nothing else asks an account about a row. What one refuses is an answer.
        """
        mapping, before = context.mapping, context.stored.records.get(account)
        in_scope = not mapping.deleted and account in self.in_scope(mapping.spec)
        try:
            check = self.check(account, mapping.spec) if in_scope else None
        except AwsRefusalError as error:
            return AccountVerdict(refusal=error)
        record = self.record(account, mapping, before, check=check)
        unasked = context.scans_in is not None and account not in context.scans_in
        if record is None or unasked or (context.alone and check and check.problem):
            return AccountVerdict(check=check)
        scans, refused = self._scans(asked, record, context)
        impact, usable = Impact(), check is not None and not check.problem
        for scan in scans.values():
            impact.include(scan.impact)
        published = before.mapping if before and not before.mapping.deleted else None
        gained: tuple[Gain, ...] = ()
        if before is None or _giving(before.mapping) != _giving(record.mapping):
            gained = gains(self.accounts[account].policies, record.mapping, published, impact=impact, gives=usable)
        return AccountVerdict(check=check, scans=scans, refused=refused, gains=gained)

    def _scans(
        self, asked: Iterable[TargetScope], record: AccountRecord, context: AssessmentContext
    ) -> tuple[dict[str, Scan], dict[str, AwsRefusalError]]:
        """Return what a record would do in these targets, and why others of them gave no answer, by Region."""

        def scan(one: TargetScope) -> Scan | AwsRefusalError:
            before = context.stored.records.get(one.target.account)
            if one.target in context.found:
                return context.found[one.target]
            if not context.in_time():
                why = "the account's other targets took the time"
                return RetryableError("TimedOut", why, "ec2:DescribeInstances", resource=str(one.target))
            edit = Edit(before.mapping if before else None, record.mapping, context.at)
            given = context.given() if context.takes_left_roles(before) else frozenset[str]()
            sides, there = [side.mapping for side in (record, before) if side], one.target
            in_scope = (each.in_scope and each.spec.covers(there.account, there.region, None) for each in sides)
            if not (given or any(in_scope)):
                return Scan()
            if refusal := self._refused.get(one.target):
                return refusal
            try:
                return one.scanner.scan(edit, given)
            except AwsRefusalError as error:
                if error.action.startswith("dynamodb:"):
                    # The deployment itself failed, not the target.
                    raise
                self._keep(one.target, error)
                return error

        those = list(asked)
        found = dict(zip((one.target.region for one in those), self.map_concurrently(scan, those), strict=True))
        refused = {region: answer for region, answer in found.items() if isinstance(answer, AwsRefusalError)}
        return {region: answer for region, answer in found.items() if isinstance(answer, Scan)}, refused

    def sizes(self, targets: Collection[Target]) -> dict[Target, int]:
        """Count the instances of these targets now; one that gives no answer is left out.

        An edit would otherwise change more of a target's instances than it is said to have.
        """

        def count(one: TargetScope) -> int | None:
            try:
                return one.scanner.fleet
            except AwsRefusalError:
                return None

        those = [one for one in self.all if one.target in targets]
        counted = zip((one.target for one in those), self.map_concurrently(count, those), strict=True)
        return {target: size for target, size in counted if size is not None}

    # ---- what is published in each account ----

    def record(
        self, account: str, mapping: PublishedMapping, before: AccountRecord | None, *, check: RoleCheck | None
    ) -> AccountRecord | None:
        """Return the record that an account should have in the place of the one `before`, if it should have one.

        IAM isn't asked for a tombstone. Out of scope there is no `check`.
        """
        own = account == self.home.account
        if mapping.deleted:
            return before.tombstone(mapping) if before else AccountRecord(mapping) if own else None
        if not (before or check or own):
            return None
        there = replace(mapping, in_scope=self.allows(account, mapping.spec))
        was = before.mapping if before else None
        made = self.accounts[account].for_account(there, check or RoleCheck(), was)
        if mapping.former:
            made = made.after(was)
        return AccountRecord(made, before.counts if before else {}, check.missing if check else "")

    def counted(self, stored: StoredMapping, asked: Collection[Target] = ()) -> tuple[int, int]:
        """Return how many instances what is published governs in others than `asked`, and how many are occupied."""
        others, known = [one.target for one in self.all if one.target not in {self.home, *asked}], stored.records
        found = [known[one.account].counts.get(one.region, (0, 0)) for one in others if one.account in known]
        return sum(matched for matched, _ in found), sum(occupied for _, occupied in found)


def _giving(mapping: PublishedMapping) -> tuple[object, ...]:
    """Return what has to change if an edit is to gain or lose permissions."""
    return mapping.spec, mapping.profile_arn, mapping.in_scope, mapping.deleted
