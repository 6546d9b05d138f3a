"""A mapping in all targets: where its role can be used, what it would do there, and what is published.

Each account has its own IAM, so each account in a mapping's scope has a record of the same revision and spec, with its
own instance profile. If the role can't be used there, the record says why, and instances stay as they are. The record
of the deployment's own account, `home`, is what is in effect. Another target that gives no answer delays nothing: its
account's record stays as it was until its own sweep has counted what an update changes there.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import islice

from rolekeeper.aws import Each
from rolekeeper.aws.errors import AwsRefusalError, RetryableError
from rolekeeper.mappings.findings import SILENT, Finding, Refusal
from rolekeeper.mappings.impact import Edit, Impact, ImpactScanner, Moment, Scan, Side, gives_up
from rolekeeper.mappings.revisions import AccountRecord, StoredMapping
from rolekeeper.model.instance import Action, Target
from rolekeeper.model.mapping import NO_ROLE, MappingSpec, PublishedMapping, WhenOccupied, WhenUnmatched
from rolekeeper.model.problem import Problem
from rolekeeper.permissions.roles import RoleCheck, Roles

type Records = Mapping[str, AccountRecord]

# The most accounts that a reason names, and the most reasons.
NAMED, REASONS = 5, 5


@dataclass(frozen=True)
class MappedTarget:
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
class Reach:
    """Where a mapping can be used: the check of its role in each account in its scope, or why IAM didn't answer."""

    checks: Mapping[str, RoleCheck] = field(default_factory=dict)
    unanswered: Mapping[str, AwsRefusalError] = field(default_factory=dict)

    @property
    def usable(self) -> list[str]:
        return [account for account, check in self.checks.items() if not check.problem]

    @property
    def nowhere(self) -> bool:
        """Whether no account in its scope can use it. A scope without a registered account waits for one."""
        return not self.usable and self.accounts > 0

    @property
    def accounts(self) -> int:
        return len({*self.checks, *(each.partition("/")[0] for each in self.unanswered)})

    @property
    def why_not(self) -> list[str]:
        """Why no account can use it, one sentence for each reason."""
        if self.accounts == 1 and self.checks:
            return [str(check.problem) for check in self.checks.values()]
        problems = {account: str(problem) for account, problem in self._problems.items()}
        return [*_grouped(problems), *_grouped_refusals(self.unanswered)]

    @property
    def _problems(self) -> dict[str, Problem]:
        return {account: check.problem for account, check in self.checks.items() if check.problem}

    def words(self, what: str = "in effect", then: str = "publishes") -> Iterator[str]:
        """In how many accounts it is in effect, and why not in others; empty for one account without a problem."""
        if what and not self.accounts:
            yield "no account in its scope has a spoke"
        elif what and self.accounts > 1:
            of = "" if len(self.usable) == self.accounts else f" of {self.accounts:,}"
            yield f"{what} in {len(self.usable):,}{of} accounts"
        # Without the remedies, which the row shows if no account can use the mapping, and `explain` always.
        yield from _grouped({account: problem.what for account, problem in self._problems.items()})
        yield from _grouped_refusals(self.unanswered, then)

    def without(self, unanswered: Mapping[str, AwsRefusalError]) -> "Reach":
        """The same after these accounts gave no answer either."""
        left = {account: check for account, check in self.checks.items() if account not in unanswered}
        return Reach(left, {**self.unanswered, **unanswered})


@dataclass(frozen=True, slots=True)
class Spread:
    """A mapping over all targets: the `records` it should have, by account, `home`'s first; and what was found.

    `shares` says how many instances would change in each target with a record, if there are several. Of targets that
    gave no answer the most is counted that could change, together `guessed`: `assumed` is that of accounts without a
    record, and of the `unknown` nobody can tell. `silent` says why they gave none.
    """

    reach: Reach
    records: Records
    scan: Scan
    shares: Mapping[Target, int] = field(default_factory=dict)
    assumed: Impact = field(default_factory=Impact)
    guessed: int = 0
    unknown: tuple[Target, ...] = ()
    silent: Mapping[Target, AwsRefusalError] = field(default_factory=dict)

    @property
    def words(self) -> Iterator[str]:
        """Where it can't be used, and who gave no answer, with how much is taken to change there."""
        yield from self.reach.words("", "")
        if self.guessed:
            yield f"where no answer came, all that could change counts: {self.guessed:,}"


@dataclass(frozen=True, slots=True)
class Question:
    """What targets are asked about an edit: what is `stored` before it; `given` is as in `ImpactScanner.scan`."""

    stored: StoredMapping
    at: datetime
    given: Collection[str] = ()
    in_time: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class MappedTargets:
    """All targets: the deployment's `own`; `listed` returns those of the registry, `at` makes one that isn't there.

    Make a new one for each invocation: it asks an account that gave no answer only once. The own one has to answer.
    """

    own: MappedTarget
    listed: Callable[[], Sequence[MappedTarget]]
    at: Callable[[Target], MappedTarget]
    each: Each
    _refused: dict[str, AwsRefusalError] = field(default_factory=dict, init=False)
    # What others found (`recall`): what an edit would do in a target, and how many instances it has.
    _scans: dict[Target, Scan | AwsRefusalError] = field(default_factory=dict, init=False)
    _sizes: dict[Target, int] = field(default_factory=dict, init=False)

    @cached_property
    def all(self) -> list[MappedTarget]:
        others = (each for each in self.listed() if each.target != self.home)
        return [self.own, *sorted(others, key=lambda each: each.target)]

    @property
    def home(self) -> Target:
        return self.own.target

    @cached_property
    def accounts(self) -> dict[str, Roles]:
        """The roles of each account, `home`'s first."""
        return {each.target.account: each.roles for each in self.all}

    @property
    def several(self) -> bool:
        return len(self.all) > 1

    def counted_now(self, targets: Collection[Target]) -> dict[Target, int]:
        """How many instances each has: `home` and these are counted now, others as their last sweeps counted them.

        An edit would otherwise change more of a target's instances than it is said to have.
        """

        def count(one: MappedTarget) -> int:
            if one.target == self.home:
                return one.scanner.fleet
            return self._count(one) if one.target in targets else one.instances

        return dict(zip((each.target for each in self.all), self.each(count, self.all), strict=True))

    def _count(self, one: MappedTarget) -> int:
        if one.target not in self._sizes:
            with suppress(AwsRefusalError):
                return one.scanner.fleet
        return self._sizes.get(one.target, one.instances)

    def of(self, target: Target) -> MappedTarget:
        return next((each for each in self.all if each.target == target), None) or self.at(target)

    def in_scope(self, spec: MappingSpec) -> list[str]:
        """The accounts in a mapping's scope. If there is only one, its role is checked in any case."""
        if not (self.several or spec.units):
            return [self.home.account]
        return sorted({each.target.account for each in self.all if each.is_in(spec)})

    def stale(self, spec: MappingSpec, stored: StoredMapping) -> set[str]:
        """The accounts in a published mapping's scope, but `home`'s, whose records don't say what is published."""
        records = {account: stored.records.get(account) for account in self.in_scope(spec)}
        stale = {account for account, record in records.items() if record is None or stored.is_stale(record)}
        return stale - {self.home.account}

    def uncounted(self, spec: MappingSpec, stored: StoredMapping) -> set[str]:
        """Those of the stale accounts in which nobody counted what it changes, and no verdict is being carried out."""
        return self.stale(spec, stored) - stored.publishing

    def about_units(self, spec: MappingSpec) -> str:
        """Which accounts say too little of their units to tell whether a mapping is for them, in words."""
        if not (spec.units or spec.not_units):
            return ""
        others = [each for each in self.all if each.target.account != self.home.account and spec.is_unclear(each.unit)]
        unclear = {each.target.account for each in others if spec.covers(each.target.account, each.target.region, None)}
        return f"{named(sorted(unclear))} may be in more units than their spokes say" if unclear else ""

    def reach(self, spec: MappingSpec, stored: StoredMapping, known: Collection[str] = ()) -> Reach:
        """Check a mapping's role in every account in its scope; an AwsRefusalError of `home`'s is raised.

        `known`: this spec is published, so in these accounts a record of its revision already says what their sweeps
        found.
        """
        checks: dict[str, RoleCheck] = {}
        accounts = self.in_scope(spec)
        for account in accounts:
            record = stored.records.get(account) if account in known else None
            if record and not stored.is_stale(record):
                checks[account] = RoleCheck(record.mapping.problem, "", record.mapping.profile_arn)
        asked = [account for account in accounts if account not in checks]
        answers = dict(zip(asked, self.each(lambda account: self._check(account, spec), asked), strict=True))
        checks |= {account: answer for account, answer in answers.items() if isinstance(answer, RoleCheck)}
        unanswered = {account: answer for account, answer in answers.items() if isinstance(answer, AwsRefusalError)}
        return Reach(dict(sorted(checks.items())), unanswered)

    def _check(self, account: str, spec: MappingSpec) -> RoleCheck | AwsRefusalError:
        if account not in self._refused:
            try:
                return self.accounts[account].check(spec)
            except AwsRefusalError as error:
                if account == self.home.account:
                    raise
                self._refused[account] = error
        return self._refused[account]

    def records(self, mapping: PublishedMapping, stored: StoredMapping, reach: Reach) -> dict[str, AccountRecord]:
        """The records that a mapping, or its tombstone, should have, by account; `home`'s is the mapping itself."""
        own = stored.records.get(self.home.account)
        wanted = {self.home.account: replace(own, mapping=mapping) if own else AccountRecord(mapping)}
        # A tombstone's also in the place of one of an account that has left the registry.
        accounts = stored.records if mapping.deleted else sorted(self.accounts)
        for account in (each for each in accounts if each not in wanted):
            if record := self._record(account, mapping, stored=stored, reach=reach):
                wanted[account] = record
        return wanted

    def _record(
        self, account: str, mapping: PublishedMapping, *, stored: StoredMapping, reach: Reach
    ) -> AccountRecord | None:
        """The record that another account should have, if it should have one, and if that is known."""
        check, before = reach.checks.get(account), stored.records.get(account)
        if mapping.deleted:
            # IAM isn't asked for a tombstone.
            return before.tombstone(mapping) if before else None
        if account in reach.unanswered or not (before or check):
            return None
        return record_for(self.accounts[account], mapping, check, before=before)

    def spread(
        self, mapping: PublishedMapping, reach: Reach, question: Question, accounts: Collection[str] | None = None
    ) -> Spread:
        """The records that a mapping, or its tombstone, should have; and what it would do in each target.

        Only these `accounts` are asked, if they are given: the others have the mapping already.
        """
        asked = [each for each in self.all if accounts is None or each.target.account in accounts]
        wanted = self.records(mapping, question.stored, reach)
        scans, silent_in = self._answers(asked, wanted, question)
        # In `home`'s account the mapping is published all the same, so there a refusal is by target.
        refused = {str(at) if at.account == self.home.account else at.account: each for at, each in silent_in.items()}
        stays = mapping.deleted or accounts is not None
        records = {account: record for account, record in wanted.items() if stays or account not in refused}
        for target, scan in scans.items():
            if record := records.get(target.account):
                # At home the row says what it governs.
                counts = None if target == self.home else scan.counts
                records[target.account] = record.with_scan(target.region, scan.profile_ids, counts)
        silent = {*reach.unanswered, *refused}
        quiet = [one for one in asked if one.target not in scans and silent & {one.target.account, str(one.target)}]
        guesses = {one.target: _assumed(mapping, one, question) for one in quiet}
        guessed = {target: scan.impact.changes for target, scan in guesses.items()}
        scans |= guesses
        assumed = Impact()
        for scan in (scan for target, scan in scans.items() if target.account not in records):
            assumed.include(scan.impact)
        shares = {target: scan.impact.changes for target, scan in scans.items() if target.account in records}
        total = scans.pop(self.home, None) or Scan()
        for scan in scans.values():
            total.include(scan)
        return Spread(
            reach.without(refused),
            records,
            total,
            shares=shares if self.several else {},
            assumed=assumed,
            guessed=sum(guessed[one.target] for one in quiet if one.swept),
            unknown=tuple(one.target for one in quiet if not one.swept and guessed[one.target]),
            silent=silent_in,
        )

    def _answers(
        self, asked: Iterable[MappedTarget], after: Records, question: Question
    ) -> tuple[dict[Target, Scan], dict[Target, AwsRefusalError]]:
        """What candidates would do in these targets, and why others of them gave no answer."""
        before = question.stored.records

        def concerned(one: MappedTarget) -> bool:
            specs = [each[one.target.account].mapping.spec for each in (after, before) if one.target.account in each]
            # A role may have been given while the scope was another.
            reached = one.target == self.home or question.given or any(map(one.is_in, specs))
            return one.target.account in after and bool(reached)

        def scan(one: MappedTarget) -> Scan | AwsRefusalError:
            account = one.target.account
            if one.target in self._scans:
                return self._scans[one.target]
            if not question.in_time():
                why = "the account's other targets took the time"
                return RetryableError("TimedOut", why, "ec2:DescribeInstances", resource=str(one.target))
            published = before[account].mapping if account in before else None
            try:
                return one.scanner.scan(Edit(published, after[account].mapping, question.at), question.given)
            except AwsRefusalError as error:
                if one.target == self.home or error.action.startswith("dynamodb:"):
                    # The deployment itself failed, not the target.
                    raise
                return error

        those = [each for each in asked if concerned(each)]
        found = list(zip((each.target for each in those), self.each(scan, those), strict=True))
        refused = {at: each for at, each in found if isinstance(each, AwsRefusalError)}
        return {at: each for at, each in found if isinstance(each, Scan)}, refused

    def side(self, account: str, record: AccountRecord, stored: StoredMapping, *, gives: bool) -> Side:
        """An edit in one account, for its permissions."""
        before = stored.records.get(account)
        published = before.mapping if before and not before.mapping.deleted else None
        return Side(self.accounts[account].policies, record.mapping, published, gives=gives)

    # ---- one account's answers, found by a run of its own ----

    def find(self, account: str, mapping: PublishedMapping, question: Question, *, scans: bool) -> Finding:
        """What an account answers where a candidate, or a tombstone, is judged; its Regions only if that `scans`."""
        asked = not mapping.deleted and account in self.in_scope(mapping.spec)
        answer = self._check(account, mapping.spec) if asked else None
        if isinstance(answer, AwsRefusalError):
            return Finding(refusal=Refusal.of(answer))
        own, reach = account == self.home.account, Reach({account: answer} if answer else {})
        record = AccountRecord(mapping) if own else self._record(account, mapping, stored=question.stored, reach=reach)
        finding = Finding(check=answer)
        if not (record and scans):
            return finding
        there = [each for each in self.all if each.target.account == account and each.target != self.home]
        scans_in, refused = self._answers(there, {account: record}, question)
        changed, impact = list[MappedTarget](), Impact()
        for one in there:
            if scan := scans_in.get(one.target):
                impact.include(scan.impact)
                changed += [one] if scan.impact.changes and question.in_time() else []
        side = self.side(account, record, question.stored, gives=account in reach.usable)
        return replace(
            finding,
            scans={at.region: each for at, each in scans_in.items()},
            refused={at.region: Refusal.of(each) for at, each in refused.items()},
            sizes=dict(zip((each.target.region for each in changed), self.each(self._count, changed), strict=True)),
            gains=side.gains(impact),
        )

    def recall(
        self, asked: Iterable[str], findings: Mapping[str, Finding], specs: Sequence[MappingSpec | None]
    ) -> None:
        """Answer for these accounts as was found there, in place of asking; one without a finding gave no answer.

        `specs` are the row's and the published one.
        """
        there = {account: findings.get(account, SILENT) for account in asked}
        for account, finding in there.items():
            roles, checks = self.accounts[account], (finding.check, finding.published_check)
            roles.policies.recalled.update({(each.before, each.after): each.severe for each in finding.gains})
            if account == self.home.account:
                continue
            if finding.refusal:
                self._refused[account] = finding.refusal.error
            for spec, check in zip(specs, checks, strict=True):
                if spec and check:
                    roles.recall(spec, check)
        for one in (each for each in self.all[1:] if each.target.account in there):
            target, found = one.target, there[one.target.account]
            refusal = found.refusal if found is SILENT else found.refused.get(target.region)
            if target.region in found.scans:
                self._scans[target] = found.scans[target.region]
            elif refusal:
                self._scans[target], self._sizes[target] = refusal.error, one.instances
            if target.region in found.sizes:
                self._sizes[target] = found.sizes[target.region]

    def counted(self, stored: StoredMapping) -> tuple[int, int]:
        """How many instances of other targets what is published governs, and how many of them are occupied."""
        found = [stored.counts_in(each.target) for each in self.all if each.target != self.home]
        return sum(matched for matched, _ in found), sum(occupied for _, occupied in found)


def record_for(
    roles: Roles, mapping: PublishedMapping, check: RoleCheck | None, before: AccountRecord | None
) -> AccountRecord:
    """The record for the account of these roles, in the place of the one `before`; unchecked if it is out of scope."""
    there = replace(mapping, spec=mapping.spec.in_account(in_scope=check is not None))
    made = roles.for_account(there, check or RoleCheck(), before.mapping if before else None)
    return AccountRecord(made, before.counts if before else {}, check.missing if check else "")


def _assumed(candidate: PublishedMapping, one: MappedTarget, question: Question) -> Scan:
    """What an edit is taken to change at most in a target that gives no answer, by what its last sweep counted."""
    former, then, at = question.stored.records.get(one.target.account), candidate.spec, question.at
    now = former.mapping.spec if former and not former.mapping.is_idle(at) and one.is_in(former.mapping.spec) else None
    # In one that was never swept a single instance stands for those that nobody counted.
    fleet = one.instances if one.swept else 1
    counts = former.counts.get(one.target.region, (fleet, fleet)) if former and now else (0, 0)
    (matched, occupied), ends_at = counts, then.expires_at
    gone, detaches = candidate.is_idle(at) or not one.is_in(then), then.when_unmatched is WhenUnmatched.DETACH
    impact = Impact(detach=matched if gone and detaches else 0)
    if former and gives_up(former.mapping.spec, then):
        # Nobody counted what it left with instances that it no longer matches: at most all of them.
        impact.detach = max(impact.detach, fleet - (0 if gone else matched))
    if not gone and now:
        same = all(getattr(now, name) == getattr(then, name) for name in ("role", "profile_name", "require_tags"))
        takes_over = occupied if then.when_occupied is WhenOccupied.REPLACE is not now.when_occupied else 0
        impact.replace = takes_over if same and then.priority <= now.priority else matched
    widens = now is None or then.priority < now.priority or not now.require_tags.items() <= then.require_tags.items()
    more = 0 if gone or not widens else max(0, fleet - matched - impact.detach)
    impact.attach, impact.detach = (0, impact.detach + more) if then.role == NO_ROLE else (more, impact.detach)
    if ends_at and detaches and not gone:
        if now is None or now.expires_at is None or now.expires_at > ends_at:
            impact.count(Action.DETACH, Moment(ends_at), matched, only=not impact.replace)
        impact.count(Action.DETACH, Moment(ends_at), more, only=False)
    return Scan(0 if gone else matched, matched, foreign=0 if gone else occupied, impact=impact)


def _grouped(problems: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each problem, with its accounts."""
    groups: dict[str, list[str]] = {}
    for account, problem in problems.items():
        groups.setdefault(problem.replace(account, "\0"), []).append(account)
    for problem, accounts in islice(groups.items(), REASONS):
        whom, there = named(accounts), "in account \0"
        # Where a problem names its account, the accounts take its place.
        text = problem.replace(there, f"in {whom}", 1) if there in problem else f"in {whom}: {problem}"
        yield text.replace("\0", accounts[0])
    if len(groups) > REASONS:
        yield f"and {len(groups) - REASONS:,} more reasons"


def _grouped_refusals(unanswered: Mapping[str, AwsRefusalError], then: str = "") -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for account, error in unanswered.items():
        groups.setdefault(f"{error.code} to {error.action}", []).append(account)
    for why, accounts in groups.items():
        whose = "its sweep" if len(accounts) == 1 else "the sweep of each"
        yield f"{named(accounts)} gave no answer ({why})" + (f", {whose} {then} it there" if then else "")


def named(accounts: Sequence[str]) -> str:
    more = f" and {len(accounts) - NAMED:,} more" if len(accounts) > NAMED else ""
    return f"{', '.join(accounts[:NAMED])}{more}"
