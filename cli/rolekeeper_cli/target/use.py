"""The targets that a command reads, each as a deployment of its own; and those that it couldn't read.

The deployment's own comes first, page by page. Of the others a few are read at once: an organization has hundreds.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError
from rolekeeper.fleet.targets import WIRE_FORMAT, ServedTarget, unheard
from rolekeeper.instances.observe import Unreadable
from rolekeeper.model.instance import Instance, Target
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.aws.deployment import OWN_ONLY, Deployment
from rolekeeper_cli.aws.explained import why_unseen
from rolekeeper_cli.errors import CommandError, UsageError
from rolekeeper_cli.installed import ordered
from rolekeeper_cli.instance.seen import Enforced, Seen, decided, look
from rolekeeper_cli.instance.use import TARGET
from rolekeeper_cli.shell.layout import grouped, minute, several
from rolekeeper_cli.shell.suggest import did_you_mean
from rolekeeper_cli.target.view import MissingTargetView, TargetView, UnseenTargetView

_AT_ONCE = 8
_ACCOUNT = re.compile("[0-9]{12}", re.ASCII)
# This many are named in a sentence.
_NAMED = 3

type Pages = Callable[[Deployment], Iterable[list[Instance]]]
type States = Callable[[Deployment], Enforced]


@dataclass(slots=True)
class Places:
    """See the module. A target that can't be read blocks no other: it is `unseen`, until it is asked again.

    Only the deployment's own has to be readable: its AwsRefusalError is raised.
    """

    all: Sequence[Deployment]
    unseen: dict[Target, CommandError] = field(default_factory=dict)

    @classmethod
    def chosen(cls, deployment: Deployment, texts: Sequence[str] = ()) -> "Places":
        """The targets that texts name, each an account, a Region, or both; without a text, all of the deployment's.

        CommandError if a text names none of them.
        """
        found = registered(deployment)
        for text in texts:
            if not any(_is_meant(text, each) for each in found):
                raise _no_such_target(text, found)
        wanted = [each for each in found if not texts or any(_is_meant(text, each) for text in texts)]
        return cls([deployment.at(each) for each in wanted])

    @classmethod
    def of(cls, deployment: Deployment, found: Iterable[Target]) -> "Places":
        return cls([deployment.at(each) for each in found])

    def look(self, pages: Pages, states: States) -> Iterator[Seen | Unreadable]:
        """Decide on the instances that `pages` gives of each target, by what `states` says is published there."""
        for place in self.all:
            if not place.elsewhere:
                yield from look(place, states(place), pages(place))
        others = [each for each in self.all if each.elsewhere]
        if others:
            with others[0].progress(len(others), "other targets looked at") as progress:
                found = self._elsewhere(lambda place: decided(place, states(place), pages(place)))
                for each in progress.over(found):
                    yield from each

    def reachable(self) -> list[Deployment]:
        """Those whose viewer the caller may be."""

        def reached(place: Deployment) -> list[Deployment]:
            _ = place.app.ec2, place.app.iam  # makes the clients
            return [place]

        return list(self.ask(reached))

    def ask[T](self, question: Callable[[Deployment], Iterable[T]]) -> Iterator[T]:
        for place in self.all:
            if not place.elsewhere:
                yield from question(place)
        for each in self._elsewhere(question):
            yield from each

    def ask_accounts[T](self, question: Callable[[Deployment], Iterable[T]]) -> Iterator[T]:
        """Ask the same of each account once, whatever its Regions: IAM has none. The own one comes first.

        If an account can't be read, all its targets are `unseen`.
        """
        once: dict[str, Deployment] = {}
        for each in self.all:
            account = each.settings.account
            # The own one with the caller's permissions, even if only its other Regions are meant: a viewer has fewer.
            once.setdefault(account, each.at(each.home) if account == each.home.account else each)
        accounts = Places(list(once.values()))
        yield from accounts.ask(question)
        unseen = {target.account: error for target, error in accounts.unseen.items()}
        for each in self.all:
            if error := unseen.get(each.settings.account):
                self.unseen.setdefault(each.settings.target, error)

    def _elsewhere[T](self, question: Callable[[Deployment], Iterable[T]]) -> Iterator[Sequence[T]]:
        """What each other target answers, in order."""
        others = [each for each in self.all if each.elsewhere]
        self.unseen.clear()
        for place, found in few_at_once(others, partial(_answer, question)):
            if isinstance(found, CommandError):
                self.unseen[place.settings.target] = found
            yield () if isinstance(found, CommandError) else found

    def unseen_in_words(self) -> list[str]:
        """The targets that couldn't be read, one sentence for each reason."""
        reasons = grouped((error.what, target) for target, error in self.unseen.items())
        return [
            f"{several(found, _NAMED, 'target')} {'is' if len(found) == 1 else 'are'} left out: {why}"
            for why, found in reasons.items()
        ]

    def unseen_views(self) -> list[UnseenTargetView]:
        return [
            UnseenTargetView(account=target.account, region=target.region, reason=error.what)
            for target, error in self.unseen.items()
        ]


def registered(deployment: Deployment) -> list[Target]:
    """The deployment's targets, its own first."""
    return [deployment.settings.target, *(each.target for each in deployment.app.registry.others())]


def read(text: str) -> Target:
    """A target as a person writes it: ACCOUNT/REGION. UsageError if it isn't one."""
    found = TARGET.fullmatch(text)
    if not found or found[3]:
        raise UsageError(f"{text!r} is no target", "name one as ACCOUNT/REGION, like 111111111111/eu-west-1")
    return Target(found[1], found[2])


def _is_meant(text: str, target: Target) -> bool:
    return text in {target.account, target.region, str(target)}


def _no_such_target(text: str, known: Sequence[Target]) -> CommandError:
    if "/" in text:
        names = list(map(str, known))
    else:
        names = sorted({each.account if _ACCOUNT.fullmatch(text) else each.region for each in known})
    meant = f"{did_you_mean(text, names)} see: ".lstrip()
    return CommandError(f"there is no target {text}", advice(meant, Remedy(Kind.TARGETS)))


def _answer[T](question: Callable[[Deployment], Iterable[T]], place: Deployment) -> Sequence[T] | CommandError:
    try:
        return list(question(place))
    except AwsRefusalError as error:
        return why_unseen(error)


def few_at_once[Item, Result](items: Sequence[Item], do: Callable[[Item], Result]) -> Iterator[tuple[Item, Result]]:
    """Do it for each, a few at once, and give the results in order."""
    coming, waiting = iter(items), deque[tuple[Item, Future[Result]]]()
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        waiting.extend((each, threads.submit(do, each)) for each in islice(coming, _AT_ONCE))
        while waiting:
            item, future = waiting.popleft()
            yield item, future.result()
            waiting.extend((each, threads.submit(do, each)) for each in islice(coming, 1))


# ---- what is known of the targets ----

# The states of a target: managed, not swept yet, not swept lately, the hub can't manage it, its spoke's events don't
# reach the hub, it has no spoke but sends events.
WELL, NEW, OVERDUE, PROBLEM, SILENT, UNKNOWN = "well", "new", "overdue", "problem", "silent", "unknown"
# What each is drawn as; what wants a person comes first.
KINDS = {PROBLEM: "bad", SILENT: "bad", OVERDUE: "bad", UNKNOWN: "drift", NEW: "wait", WELL: "ok"}
# A spoke sends an event each day, wherever nothing happens (spoke.yaml); and a process notes one an hour late.
_HEARD = timedelta(days=2)
SAME, OLDER, NEWER = "same", "older", "newer"
_FAR = 1_000


def views(deployment: Deployment) -> list[TargetView]:
    """Every target that the deployment knows, its own first, then by account and Region, and those that are unknown."""
    version, registry = deployment.outputs.get("Version"), deployment.app.registry
    hub = _Hub(deployment.home, version, deployment.now(), silence=2 * sweep_interval(deployment))
    known = {each.target: each for each in registry.all()}
    own = known.pop(hub.target, ServedTarget(hub.target, wire_format=WIRE_FORMAT))
    unknown = [hub.unknown(each) for each in registry.unknown() if each.target not in known]
    return [*map(hub.view, (replace(own, version=version or ""), *known.values())), *unknown]


def why_alone(deployment: Deployment, targets: int) -> str:
    """Why there is only one target, and what to do; empty if there are more."""
    if targets > 1:
        return ""
    if deployment.settings.organization:
        why = "No spoke has reported yet; it does with its first event, or within a day"
    else:
        how = "To look after an organization's accounts, deploy it with --organization-id, then a spoke in each of them"
        why = f"This deployment {OWN_ONLY}. {how}"
    return f"{why}: rolekeeper spoke deploy --help"


def sweep_interval(deployment: Deployment) -> timedelta:
    """How often each target is swept. For a cron schedule, half of the time after which an alarm rings."""
    parameters = deployment.stack.parameters
    found = re.fullmatch(r"rate\(([0-9]+) (minute|hour|day)s?\)", parameters.get("SweepSchedule", ""))
    if found:
        return timedelta(**{f"{found[2]}s": int(found[1])})
    return timedelta(hours=int(parameters.get("SweepOverdueHours", "2"))) / 2


_AS_STORED = ("since", "last_event", "last_sweep", "problem_since", "wire_format")


@dataclass(frozen=True, slots=True)
class _Hub:
    """The deployment's own target and version, with which others are compared; `silence` is how old a sweep may be."""

    target: Target
    version: str | None
    now: datetime
    silence: timedelta

    def view(self, served: ServedTarget) -> TargetView:
        own = served.target == self.target
        state, reason = self._state(served, own=own)
        version, swept = served.version or None, served.last_sweep is not None
        compared, gap = _compared(version, self.version)
        return TargetView(
            account=served.target.account,
            region=served.target.region,
            hub=own,
            state=state,
            reason=reason,
            version=version,
            version_is=compared,
            version_gap=gap,
            **{name: getattr(served, name) for name in _AS_STORED},
            **{name: getattr(served, name) if swept else None for name in ("instances", "drift", "withheld")},
            unit=served.unit or None,
            events_to_account=served.notifies,
        )

    def unknown(self, heard: ServedTarget) -> TargetView:
        """The same for a target that isn't registered: its events were dropped."""
        dropped = f"{heard.dropped:,} {'event was' if heard.dropped == 1 else 'events were'} dropped"
        return self.view(heard).but(state=UNKNOWN, reason=f"{dropped}: {heard.problem}")

    def _state(self, served: ServedTarget, *, own: bool) -> tuple[str, str]:
        if served.problem:
            return PROBLEM, served.problem
        known = served.last_sweep or served.since
        late = known is not None and self.now - known > self.silence + served.idle_interval
        if served.last_sweep is None:
            return (OVERDUE, "it was never swept") if late else (NEW, "its first sweep is still to come")
        if late:
            return OVERDUE, f"its last sweep was at {minute(served.last_sweep)}"
        silent = "" if own else self._silent(served)
        return (SILENT, silent) if silent else (WELL, "")

    def _silent(self, served: ServedTarget) -> str:
        """Why a target's events don't reach the hub; empty if they do, as far as is known."""
        if not served.is_heard:
            return unheard(served)
        heard = served.last_event or served.since
        if heard is None or self.now - heard <= _HEARD:
            return ""
        return f"no event came since {minute(heard)}, and its spoke sends one each day"


def _compared(version: str | None, hub: str | None) -> tuple[str | None, int | None]:
    """How a target's version compares with the hub's; None if one of them isn't known, or has no number.

    And how many minor versions it is ahead, negative if behind; another major version is far away.
    """
    ours, theirs = ordered(hub or ""), ordered(version or "")
    if not (ours and theirs):
        return None, None
    (major, *minor), (hubs, *hubs_minor) = theirs[:2], ours[:2]
    gap = sum(minor) - sum(hubs_minor) if major == hubs else (major - hubs) * _FAR
    return SAME if theirs == ours else OLDER if theirs < ours else NEWER, gap


# ---- taking a target out of the registry, once its spoke is gone ----


def forgettable(deployment: Deployment, text: str) -> TargetView:
    """The target that a text names.

    UsageError if the text is no target, or it is the hub's own; CommandError if it isn't in the registry.
    """
    read(text)
    known = {f"{view.account}/{view.region}": view for view in views(deployment)}
    if text not in known:
        raise _no_such_target(text, [Target(view.account, view.region) for view in known.values()])
    if known[text].hub:
        raise UsageError(f"{text} is the deployment's own", "to remove the deployment: rolekeeper destroy")
    return known[text]


def forget(deployment: Deployment, text: str) -> None:
    """Delete it from the registry; one that is gone already is no error."""
    deployment.app.registry.remove(read(text))


# ---- the accounts and Regions of the organization that have no spoke, and the instances that are there ----

_ACTIVE = "ACTIVE"
# What EC2 answers in a Region that the account hasn't enabled (AWS_FACTS.md, "Many accounts").
_NOT_ENABLED = frozenset({"AuthFailure", "OptInRequired"})
_NO_REGION = -1


def uncovered(deployment: Deployment, known: Sequence[Target], regions: Sequence[str] = ()) -> list[MissingTargetView]:
    """Those of the organization's active accounts, by default in the Regions that the known targets are in.

    CommandError if the deployment has no organization, or the caller may not list its accounts.
    """
    deployment.require_organization()
    covered, asked = set(known), regions or sorted({each.region for each in known})
    return [
        MissingTargetView(account=account, account_name=name, region=region, instances=None)
        for account, name in _accounts(deployment)
        for region in asked
        if Target(account, region) not in covered
    ]


def missing(deployment: Deployment, regions: Sequence[str] = ()) -> Iterator[MissingTargetView]:
    """The same, with the number of instances; None where nobody here can know it.

    In an account with a spoke in another Region the spoke's viewer counts them, for a caller that may be it. A Region
    that isn't enabled there has none, and is left out.
    """
    known = registered(deployment)
    found = uncovered(deployment, known, regions)
    readable = {each.account for each in known if each != deployment.home}
    with deployment.progress(len(found), "accounts and Regions without a spoke looked at") as progress:
        for target, instances in progress.over(few_at_once(found, partial(_counted, deployment, readable))):
            if instances != _NO_REGION:
                yield target.but(instances=instances)


def _counted(deployment: Deployment, readable: set[str], target: MissingTargetView) -> int | None:
    """Return how many instances there are; None if that isn't known, `_NO_REGION` if its Region isn't enabled."""
    if target.account not in readable:
        return None
    try:
        pages = deployment.at(Target(target.account, target.region)).app.ec2.pages()
        return sum(not instance.ended for page, _ in pages for instance in page)
    except AwsRefusalError as error:
        return _NO_REGION if error.code in _NOT_ENABLED else None


def _accounts(deployment: Deployment) -> list[tuple[str, str]]:
    try:
        found = deployment.items("organizations:ListAccounts", "*", "Accounts")
    except AccessDeniedError as error:
        raise CommandError(
            f"the organization's accounts can't be listed: you aren't allowed {error.action}",
            "allow it in your own policy; and, unless this account manages the organization or is a delegated "
            'administrator, in the organization\'s delegation policy: docs/organization.md, "Accounts without a spoke"',
        ) from error
    # `Status` until AWS retires it (AWS_FACTS.md, "Many accounts").
    return sorted(
        (each["Id"], each.get("Name", "")) for each in found if each.get("State", each.get("Status")) == _ACTIVE
    )
