"""A mapping in all accounts, made of what each of them answered: where its role can be used, and what it would do."""

from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from typing import Self

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.mappings.accounts import AllTargets, Records, TargetScope
from rolekeeper.mappings.findings import AccountVerdict
from rolekeeper.mappings.impact import Impact, Moment, Scan, gives_up
from rolekeeper.mappings.revisions import AccountRecord, StoredMapping
from rolekeeper.model.instance import Action, Target
from rolekeeper.model.mapping import NO_ROLE, PublishedMapping, WhenOccupied, WhenUnmatched
from rolekeeper.model.problem import Problem, Reason, ReasonCode
from rolekeeper.permissions.comparison import Gain
from rolekeeper.permissions.roles import RoleCheck

# The most reasons about accounts that a row shows.
REASONS = 5


@dataclass(frozen=True, slots=True)
class Rollout:
    """Where a mapping can be used: the check of its role in each account in its scope, or why IAM didn't answer.

    `records` are what accounts should have, `home`'s first; `scan` is what was found. `shares` says how many instances
    would change in each target with a record, if there are several. Of targets that gave no answer the most is counted
    that could change, together `guessed`: `assumed` is that of accounts without a record, and of the `unknown` nobody
    can tell. `silent` says why they gave none. `sizes` are the instances of targets that were counted now.
    """

    checks: Mapping[str, RoleCheck] = field(default_factory=dict)
    unanswered: Mapping[str, AwsRefusalError] = field(default_factory=dict)
    records: Records = field(default_factory=dict)
    scan: Scan = field(default_factory=Scan)
    shares: Mapping[Target, int] = field(default_factory=dict)
    assumed: Impact = field(default_factory=Impact)
    guessed: int = 0
    unknown: tuple[Target, ...] = ()
    silent: Mapping[Target, AwsRefusalError] = field(default_factory=dict)
    gains: tuple[Gain, ...] = ()
    sizes: Mapping[Target, int] = field(default_factory=dict)

    @classmethod
    def of(cls, answers: Mapping[str, AccountVerdict]) -> Self:
        """Return what IAM answered."""
        checks = {account: answer.check for account, answer in sorted(answers.items()) if answer.check}
        return cls(checks, {account: answer.refusal for account, answer in answers.items() if answer.refusal})

    @property
    def usable(self) -> list[str]:
        return [account for account, check in self.checks.items() if not check.problem]

    @property
    def nowhere(self) -> bool:
        """Whether no account in its scope can use it. A scope without a registered account waits for one."""
        return not self.usable and self.accounts > 0

    @property
    def accounts(self) -> int:
        return len({*self.checks, *(name.partition("/")[0] for name in self.unanswered)})

    @property
    def why_not(self) -> list[Reason]:
        """Why no account can use it."""
        if self.accounts == 1 and self.checks:
            return [problem.reason() for problem in self._problems.values()]
        return [*_grouped(self._problems), *_grouped_refusals(self.unanswered)]

    @property
    def _problems(self) -> dict[str, Problem]:
        return {account: check.problem for account, check in self.checks.items() if check.problem}

    @property
    def where(self) -> list[Reason]:
        """In how many accounts it is in effect; nothing if only one is concerned."""
        if not self.accounts:
            return [ReasonCode.NO_SPOKE_IN_SCOPE()]
        usable, everywhere = len(self.usable), len(self.usable) == self.accounts
        counts = {"all": usable} if everywhere else {"some": usable, "of": self.accounts}
        return [ReasonCode.IN_EFFECT(**counts)] if self.accounts > 1 else []

    def where_not(self, then: str = "") -> list[Reason]:
        """Explain why it isn't in effect in accounts, and what their sweeps do `then`."""
        # Without the remedies, which the row shows if no account can use the mapping, and `explain` always.
        problems = {account: replace(problem, remedy="") for account, problem in self._problems.items()}
        return [*_grouped(problems), *_grouped_refusals(self.unanswered, then)]


def roll_out(  # noqa: PLR0913  # all that a rollout is made of
    mapping: PublishedMapping,
    stored: StoredMapping,
    answers: Mapping[str, AccountVerdict],
    *,
    targets: AllTargets,
    at: datetime,
    only: Collection[str] | None = None,
) -> Rollout:
    """Add up what the accounts answered about a mapping, or its tombstone, in the place of what is `stored`.

    `only` these accounts were asked, if they are given: the others have the mapping already. IAM's refusal is its
    account's; EC2's is too, but of `home`'s account, where the mapping is published all the same.
    """
    by_iam = Rollout.of(answers)
    checks, unanswered = by_iam.checks, by_iam.unanswered
    silent = by_target({account: answer.refused for account, answer in answers.items()})
    refused = {str(one) if one.account == stored.home else one.account: error for one, error in silent.items()}
    records = wanted_records(mapping, stored, targets=targets, checks=checks, unanswered=unanswered)
    if not mapping.deleted:
        records = {at: one for at, one in records.items() if at not in refused or (only and answers[at].scans)}
    scans = by_target({account: answer.scans for account, answer in answers.items()})
    mute = {*unanswered, *refused}
    asked = [one for one in targets.all if only is None or one.target.account in only]
    quiet = [one for one in asked if one.target not in scans and mute & {one.target.account, str(one.target)}]
    guesses = {one.target: _assumed(mapping, one, stored, at=at) for one in quiet}
    guessed = {target: scan.impact.changes for target, scan in guesses.items()}
    assumed = Impact()
    for scan in (scan for target, scan in (scans | guesses).items() if target.account not in records):
        assumed.include(scan.impact)
    shares = {target: scan.impact.changes for target, scan in (scans | guesses).items() if target.account in records}
    return Rollout(
        checks={account: check for account, check in checks.items() if account not in refused},
        unanswered={**unanswered, **refused},
        records=_counted(records, scans, targets.home),
        scan=_total(scans | guesses, targets.home),
        shares=shares if targets.several else {},
        assumed=assumed,
        guessed=sum(guessed[one.target] for one in quiet if one.swept),
        unknown=tuple(one.target for one in quiet if not one.swept and guessed[one.target]),
        silent=silent,
        sizes=by_target({account: answer.sizes for account, answer in answers.items()}),
        gains=tuple(chain.from_iterable(answer.gains for account, answer in answers.items() if account in records)),
    )


def by_target[Found](found: Mapping[str, Mapping[str, Found]]) -> dict[Target, Found]:
    """Return what was found by account and Region, by target."""
    return {Target(account, region): value for account, there in found.items() for region, value in there.items()}


def _counted(records: Records, scans: Mapping[Target, Scan], home: Target) -> Records:
    """Return the records with what was counted in their accounts; at home the row says what it governs."""
    counted = dict(records)
    for target, scan in scans.items():
        if record := counted.get(target.account):
            counts = None if target == home else scan.counts
            counted[target.account] = record.with_scan(target.region, scan.profile_ids, counts)
    return counted


def _total(scans: Mapping[Target, Scan], home: Target) -> Scan:
    total = deepcopy(scans.get(home, Scan()))
    for scan in (scan for target, scan in scans.items() if target != home):
        total.include(scan)
    return total


def wanted_records(
    mapping: PublishedMapping,
    stored: StoredMapping,
    *,
    targets: AllTargets,
    checks: Mapping[str, RoleCheck],
    unanswered: Collection[str] = (),
) -> dict[str, AccountRecord]:
    """Return the records that a mapping, or its tombstone, should have, by account; those that are known."""
    home = targets.home.account
    # A tombstone's also in the place of one of an account that has left the registry.
    others = sorted({*(stored.records if mapping.deleted else targets.accounts)} - {home, *unanswered})
    found = {
        account: targets.record(account, mapping, stored.records.get(account), check=checks.get(account))
        for account in (home, *others)
    }
    return {account: record for account, record in found.items() if record}


def _assumed(candidate: PublishedMapping, one: TargetScope, stored: StoredMapping, *, at: datetime) -> Scan:
    """Count the most that an edit may change in a target that gives no answer, by what its last sweep counted."""
    former, then = stored.records.get(one.target.account), candidate.spec
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


def _grouped(problems: Mapping[str, Problem]) -> Iterator[Reason]:
    """Yield each problem, with its accounts."""
    groups: dict[Problem, list[str]] = {}
    for account, problem in problems.items():
        groups.setdefault(replace(problem, account=""), []).append(account)
    for accounts in islice(groups.values(), REASONS):
        yield problems[accounts[0]].reason(*accounts)
    if len(groups) > REASONS:
        yield ReasonCode.MORE_REASONS(number=len(groups) - REASONS)


def _grouped_refusals(unanswered: Mapping[str, AwsRefusalError], then: str = "") -> Iterator[Reason]:
    groups: dict[tuple[str, str], list[str]] = {}
    for account, error in unanswered.items():
        groups.setdefault((error.code, error.action), []).append(account)
    for (code, action), accounts in groups.items():
        sweeps = {"then" if len(accounts) == 1 else "each_then": then}
        yield ReasonCode.NO_ANSWER_IN_ACCOUNTS(accounts=accounts, error=code, action=action, **sweeps)
