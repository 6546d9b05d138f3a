"""A mapping in the accounts of an organization: where its role can be used, and what is published for each.

Each account has its own IAM. What is `published` holds in the hub's account; every other account in the mapping's scope
has a copy of the same revision and spec, with its own instance profile. Where the role can't be used the copy says why,
and instances there stay as they are. A target that gives no answer delays nothing: its account's copy stays as it was
until the target's own sweep updates it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from rolekeeper.aws import Each
from rolekeeper.aws.errors import AwsRefusalError, ConflictError, RetryableError
from rolekeeper.mappings.fan_out import FanOut, Sender
from rolekeeper.mappings.impact import Edit, Impact, gives_up
from rolekeeper.mappings.revisions import Copy, CopyCheck, Counts, Revisions, StoredMapping
from rolekeeper.mappings.scan import Scan, Spoke
from rolekeeper.model.instance import Action, Target
from rolekeeper.model.mapping import (
    Control,
    MappingKey,
    MappingSpec,
    Mode,
    PublishedMapping,
    WhenOccupied,
    WhenUnmatched,
)
from rolekeeper.permissions import Roles
from rolekeeper.permissions.roles import Reach, RoleCheck
from rolekeeper.telemetry import Telemetry

# How often a copy is checked again when a new revision is published during the check.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Spread:
    """A mapping over all targets: the `copies` it should have, by account, and what each other target's scan found."""

    reach: Reach
    copies: Mapping[str, Copy] = field(default_factory=dict)
    scans: Mapping[Target, Scan] = field(default_factory=dict)

    @property
    def counts(self) -> Counts:
        """What was found in other Regions of the hub's own account."""
        return {target.region: scan.counts for target, scan in self.scans.items() if target.account == self.reach.hub}


@dataclass(frozen=True)
class Spokes:
    """The other targets: `listed` returns those of the registry, `at` makes one that isn't there.

    Only a hub has any. Make a new one for each invocation: it asks an account that gave no answer only once.
    """

    hub: Target
    listed: Callable[[], Sequence[Spoke]]
    at: Callable[[Target], Spoke]
    each: Each
    is_hub: bool = False
    _refused: dict[str, AwsRefusalError] = field(default_factory=dict, init=False)

    @cached_property
    def all(self) -> list[Spoke]:
        return sorted((each for each in self.listed() if each.target != self.hub), key=lambda each: each.target)

    @cached_property
    def accounts(self) -> dict[str, Roles]:
        """The roles of each account but the hub's own."""
        return {each.target.account: each.roles for each in self.all if each.target.account != self.hub.account}

    @property
    def instances(self) -> int:
        """How many instances the last sweeps of all of them counted."""
        return sum(each.instances for each in self.all)

    def counted_now(self, targets: Collection[Target]) -> dict[Target, int]:
        """How many instances each has: these are counted now, and all others as their last sweeps counted them.

        An edit would otherwise change more of a target's instances than it is said to have.
        """

        def count(spoke: Spoke) -> int:
            with suppress(AwsRefusalError):
                return spoke.scanner.fleet
            return spoke.instances

        spokes = [each for each in self.all if each.target in targets]
        now = dict(zip((each.target for each in spokes), self.each(count, spokes), strict=True))
        return {each.target: each.instances for each in self.all} | now

    def of(self, target: Target) -> Spoke:
        return next((each for each in self.all if each.target == target), None) or self.at(target)

    def covers_hub(self, spec: MappingSpec) -> bool:
        """Whether the hub's own account is in the scope. If it is the only account, its role is checked in any case."""
        return not (self.all or spec.units) or self.hub.account in self._in_scope(spec)

    def _in_scope(self, spec: MappingSpec) -> list[str]:
        own = {self.hub.account} if spec.covers(self.hub.account, self.hub.region, "") else set[str]()
        return sorted(own | {each.target.account for each in self.all if each.is_in(spec)})

    def reach(self, spec: MappingSpec, stored: StoredMapping, own: Roles | None, *, known: bool = False) -> Reach:
        """Check a mapping's role in every account in its scope.

        `own` are the hub's roles, None to leave them out; they raise AwsRefusalError. `known`: this spec is published,
        so a copy of its revision already says what its account's sweep found.
        """
        checks = {self.hub.account: own.check(spec)} if own and self.covers_hub(spec) else {}
        others = [account for account in self._in_scope(spec) if account != self.hub.account]
        if known:
            for account in others:
                if (copy := stored.copies.get(account)) and not stored.is_stale(copy):
                    checks[account] = RoleCheck(copy.mapping.problem, "", copy.mapping.profile_arn)
        asked = [account for account in others if account not in checks]
        answers = dict(zip(asked, self.each(lambda account: self._check(account, spec), asked), strict=True))
        checks |= {account: answer for account, answer in answers.items() if isinstance(answer, RoleCheck)}
        unanswered = {account: answer for account, answer in answers.items() if isinstance(answer, AwsRefusalError)}
        return Reach(self.hub.account, dict(sorted(checks.items())), unanswered)

    def _check(self, account: str, spec: MappingSpec) -> RoleCheck | AwsRefusalError:
        if account not in self._refused:
            try:
                return self.accounts[account].check(spec)
            except AwsRefusalError as error:
                self._refused[account] = error
        return self._refused[account]

    def copies(self, mapping: PublishedMapping, stored: StoredMapping, reach: Reach) -> dict[str, Copy]:
        """The copies that a mapping, or its tombstone, should have, by account."""
        if mapping.deleted:
            # IAM isn't asked for a tombstone, so each copy becomes one, also in an account that has left the registry.
            return {account: copy.tombstone(mapping) for account, copy in stored.copies.items()}
        wanted: dict[str, Copy] = {}
        for account, roles in sorted(self.accounts.items()):
            check, before = reach.checks.get(account), stored.copies.get(account)
            if account not in reach.unanswered and (before or check):
                wanted[account] = _copy_for(roles, mapping, check, before=before)
        return wanted

    def spread(
        self,
        mapping: PublishedMapping,
        stored: StoredMapping,
        reach: Reach,
        at: datetime,
        given: Collection[str] = (),
    ) -> Spread:
        """The copies that a mapping, or its tombstone, should have; and what it would do in each target.

        `given` as in `ImpactScanner.scan`.
        """
        wanted = self.copies(mapping, stored, reach)
        present = {account: copy.mapping for account, copy in stored.copies.items()}
        if stored.published:
            present[self.hub.account] = stored.published
        candidates = {account: copy.mapping for account, copy in wanted.items()} | {self.hub.account: mapping}
        scans, refused = self._looked_at(candidates, present, at, given=given)
        copies = {account: copy for account, copy in wanted.items() if mapping.deleted or account not in refused}
        for target, scan in scans.items():
            if copy := copies.get(target.account):
                copies[target.account] = copy.seen(target.region, scan.profile_ids, scan.counts)
        silent = {*reach.unanswered, *refused}
        for spoke in self.all:
            target = spoke.target
            if target not in scans and silent & {target.account, str(target)}:
                former, counts = present.get(target.account), stored.counts_in(target, self.hub.account)
                scans[target] = _assumed(Edit(former, mapping, at), spoke, counts) if former else Scan()
        return Spread(reach.without(refused), copies, scans)

    def _looked_at(
        self,
        after: Mapping[str, PublishedMapping],
        before: Mapping[str, PublishedMapping],
        at: datetime,
        given: Collection[str],
    ) -> tuple[dict[Target, Scan], dict[str, AwsRefusalError]]:
        """What candidates would do in the targets of their accounts; and what refused, by account.

        In the hub's own account the mapping is published all the same, so there a refusal is by target.
        """

        def concerned(spoke: Spoke) -> bool:
            specs = [each[spoke.target.account].spec for each in (after, before) if spoke.target.account in each]
            # A role may have been given while the scope was another.
            return spoke.target.account in after and bool(given or any(map(spoke.is_in, specs)))

        def look(spoke: Spoke) -> Scan | AwsRefusalError:
            try:
                return spoke.scanner.scan(
                    after[spoke.target.account], before.get(spoke.target.account), at, given=given
                )
            except AwsRefusalError as error:
                if error.action.startswith("dynamodb:"):
                    # The hub's own table failed, not the target.
                    raise
                return error

        spokes = [each for each in self.all if concerned(each)]
        scans: dict[Target, Scan] = {}
        refused: dict[str, AwsRefusalError] = {}
        for target, found in zip((each.target for each in spokes), self.each(look, spokes), strict=True):
            if isinstance(found, Scan):
                scans[target] = found
            else:
                refused[str(target) if target.account == self.hub.account else target.account] = found
        return scans, refused

    def counted(self, stored: StoredMapping) -> tuple[int, int]:
        """How many instances of other targets what is published governs, and how many of them are occupied."""
        found = [stored.counts_in(each.target, self.hub.account) for each in self.all]
        return sum(matched for matched, _ in found), sum(occupied for _, occupied in found)


def _copy_for(roles: Roles, mapping: PublishedMapping, check: RoleCheck | None, before: Copy | None) -> Copy:
    """The copy for the account of these roles, in the place of the one `before`; unchecked where it is out of scope."""
    made = roles.for_account(mapping, check, before.mapping if before else None)
    return Copy(made, before.counts if before else {}, check.missing if check else "")


def _assumed(edit: Edit, spoke: Spoke, counts: tuple[int, int]) -> Scan:
    """What an edit is taken to change in a target that gives no answer, by the last count of what is governed there."""
    assert edit.published is not None  # it governs nothing otherwise
    (matched, occupied), now, then, ends_at = counts, edit.published.spec, edit.candidate.spec, edit.ends_at
    gone, detaches = (
        edit.candidate.is_idle(edit.at) or not spoke.is_in(then),
        then.when_unmatched is WhenUnmatched.DETACH,
    )
    impact = Impact(detach=matched if gone and detaches else 0)
    if gives_up(now, then):
        # Nobody counted what it left with instances that it no longer matches: at most all of them.
        impact.detach = max(impact.detach, spoke.instances - (0 if gone else matched))
    same = all(getattr(now, name) == getattr(then, name) for name in ("role", "profile_name", "require_tags"))
    takes_over = occupied if then.when_occupied is WhenOccupied.REPLACE is not now.when_occupied else 0
    impact.replace = 0 if gone else takes_over if same and then.priority <= now.priority else matched
    if ends_at and detaches and not gone and (now.expires_at is None or now.expires_at > ends_at):
        impact.add_later(Action.DETACH, ends_at, matched, only=not impact.replace)
    return Scan(0 if gone else matched, matched, foreign=0 if gone else occupied, impact=impact)


@dataclass(frozen=True)
class CopyKeeper:
    """Writes the copies, and checks each again when its account's target is swept."""

    spokes: Spokes
    revisions: Revisions
    sender: Sender
    telemetry: Telemetry
    mode: Mode
    now: Callable[[], datetime]

    def write(self, stored: StoredMapping, copies: Mapping[str, Copy]) -> set[str]:
        """Write the copies that differ from what is stored; returns the accounts whose instances need a reconcile.

        Raises:
            ConflictError: there is a newer revision by now.
        """

        def write(account: str) -> bool | AwsRefusalError:
            copy, before = copies[account], stored.copies.get(account)
            try:
                copy = self._made(self.spokes.accounts.get(account), copy, stored.control)
            except AwsRefusalError as error:
                return error
            return self._write(account, copy, before)

        changed: set[str] = set()
        for account, result in zip(copies, self.spokes.each(write, list(copies)), strict=True):
            if isinstance(result, AwsRefusalError):
                text = {"mapping": str(copies[account].mapping.key), "account": account, "error": str(result)}
                self.telemetry.will_retry("a mapping isn't published in an account, whose sweep tries again", **text)
            elif result:
                changed.add(account)
        return changed

    def _write(self, account: str, copy: Copy, before: Copy | None) -> bool:
        """Write a copy if it differs from the one `before`; returns whether instances need a reconcile."""
        if before is None or before.content != copy.content:
            self.revisions.write_copy(account, copy)
        return copy.matters(before)

    def _made(self, roles: Roles | None, copy: Copy, control: Control) -> Copy:
        """The same once its profile is made, or with why it can't be; unchanged while no change may be made."""
        if roles is None or not copy.missing or control.withholds(self.mode):
            return copy
        made = roles.make(copy.mapping.spec, copy.missing)
        mapping = copy.mapping.with_profile_id(made.profile_id).suspended_for(made.problem)
        return replace(copy, mapping=mapping, missing="")

    def recheck(
        self, key: MappingKey, target: Target, correlation_id: str, scan: Scan | None = None, *, thorough: bool = True
    ) -> CopyCheck:
        """Check a mapping in a target that is swept: whether its role can be used there, and how much it governs.

        This writes a copy that is missing or outdated, and sends the account's instances then. `scan` is what the sweep
        counted there for the copy; without one this counts. IAM isn't asked about a copy that governs nothing there
        unless this is `thorough`.

        Raises:
            AwsRefusalError: the target gave no answer; its copy stays as it was.
        """
        for _ in range(ATTEMPTS):
            # A new revision was published during the check: check again.
            with suppress(ConflictError):
                return self._recheck(key, target, correlation_id, scan=scan, thorough=thorough)
        raise RetryableError("MappingChanging", f"{key} keeps changing while it is checked")

    def _recheck(
        self, key: MappingKey, target: Target, correlation_id: str, scan: Scan | None, *, thorough: bool
    ) -> CopyCheck:
        account = target.account
        stored = self.revisions.read(key)
        if stored.published is None:
            # Its row was never published, or its item is lost, and that must detach nothing.
            return CopyCheck()
        published, spoke = stored.published, self.spokes.of(target)
        if account == self.spokes.hub.account:
            found = self._scan(published, spoke, scan)
            if stored.counts.get(target.region) != found.counts:
                self.revisions.count(published, target.region, found.counts)
            usable = not (published.deleted or published.suspended_because)
            return CopyCheck(in_effect=usable and spoke.is_in(published.spec))
        before = self.revisions.copies(key, [account]).get(account)
        if before and before.mapping.revision > published.revision:
            return CopyCheck()  # the hub's own sweep publishes it again, under a higher number
        there = {each.target: each for each in (spoke, *self.spokes.all) if each.target.account == account}
        in_scope = any(each.is_in(published.spec) for each in there.values()) and not published.deleted
        counts = scan.counts if scan and not thorough else (-1, -1)
        if before and before.is_at_rest(published, target.region, counts, in_scope=in_scope):
            return CopyCheck(in_effect=in_scope)
        if not (in_scope or before):
            return CopyCheck()
        check = spoke.roles.check(published.spec) if in_scope else None
        if before and published.deleted:
            copy = before.tombstone(published)
        else:
            copy = _copy_for(spoke.roles, published, check, before=before)
        found = self._scan(copy.mapping, spoke, scan)
        copy = self._made(spoke.roles, copy.seen(target.region, found.profile_ids, found.counts), stored.control)
        if changed := self._write(account, copy, before):
            self.sender.send(FanOut.to(key, sorted(there)), correlation_id, lambda: True)
        return CopyCheck(changed, in_scope and not copy.mapping.suspended_because)

    def _scan(self, mapping: PublishedMapping, spoke: Spoke, scan: Scan | None) -> Scan:
        if mapping.is_idle(self.now()):
            return Scan()
        return scan or spoke.scanner.scan(mapping, mapping, self.now())
