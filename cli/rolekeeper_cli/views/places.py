"""The targets that a command looks at, each as a deployment of its own; and those into which it couldn't look.

The deployment's own comes first, page by page as it is read. Of the others a few are read at once: an organization has
hundreds, and each is some calls away.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError
from rolekeeper.instances.observe import Unreadable
from rolekeeper.model.instance import Instance, Target
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, UsageError, explained
from rolekeeper_cli.suggest import did_you_mean
from rolekeeper_cli.views.looking import Enforced, Seen, observed

_AT_ONCE = 8
_ACCOUNT, _BOTH = re.compile("[0-9]{12}", re.ASCII), "/"
# This many are named in a sentence.
_NAMED = 3

type Pages = Callable[[Deployment], Iterable[list[Instance]]]
type States = Callable[[Deployment], Enforced]


@dataclass(slots=True)
class Places:
    """See the module. `unseen` is filled while they are looked at: why a target couldn't be."""

    all: Sequence[Deployment]
    unseen: dict[Target, CommandError] = field(default_factory=dict)

    @classmethod
    def chosen(cls, deployment: Deployment, texts: Sequence[str] = ()) -> "Places":
        """The targets that texts name, each an account, a Region, or both; all of the deployment's without a text.

        Raises:
            UsageError: a text names none of them.
        """
        home = deployment.settings.target
        found = [home]
        if deployment.settings.organization:
            found += [each.target for each in deployment.app.registry.all()]
        for text in texts:
            if not any(_is_meant(text, each) for each in found):
                raise _no_such_target(text, found)
        wanted = [each for each in found if not texts or any(_is_meant(text, each) for text in texts)]
        return cls([deployment.at(each) for each in wanted])

    @classmethod
    def of(cls, deployment: Deployment, found: Iterable[Target]) -> "Places":
        """These targets."""
        return cls([deployment.at(each) for each in found])

    def look(self, pages: Pages, states: States) -> Iterator[Seen | Unreadable]:
        """Look at the instances of all of them. One that can't be looked into hinders no other.

        Args:
            pages: gives those of one target that are asked for.
            states: gives what is published there.

        Raises:
            AwsRefusalError: the deployment's own can't be.
        """
        for place in self.all:
            if not place.elsewhere:
                with place.progress(None, "instances looked at") as progress:
                    yield from _seen(place, states(place), progress.pages(pages(place)))
        others = [each for each in self.all if each.elsewhere]
        if others:
            with others[0].progress(len(others), "other targets looked at") as progress:
                found = self._elsewhere(lambda place: _seen(place, states(place), pages(place)))
                for each in progress.over(found):
                    yield from each

    def reachable(self) -> list[Deployment]:
        """Those into which the caller can look; the others are `unseen` from then on."""
        return list(self.ask(_reached))

    def ask[T](self, question: Callable[[Deployment], Iterable[T]]) -> Iterator[T]:
        """Ask the same of each; one that can't be looked into hinders no other.

        Raises:
            AwsRefusalError: the deployment's own can't be.
        """
        for place in self.all:
            if not place.elsewhere:
                yield from question(place)
        for each in self._elsewhere(question):
            yield from each

    def ask_accounts[T](self, question: Callable[[Deployment], Iterable[T]]) -> Iterator[T]:
        """Ask the same of each account once, whatever its Regions: IAM has none. The own one comes first.

        All targets of an account that can't be looked into are `unseen`.

        Raises:
            AwsRefusalError: as `ask`.
        """
        once: dict[str, Deployment] = {}
        for each in self.all:
            account = each.settings.account
            # The own one by the caller's permissions, also where only its other Regions are meant: a reader has fewer.
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
        for place, found in _few_at_once(others, partial(_answer, question)):
            if isinstance(found, CommandError):
                self.unseen[place.settings.target] = found
            yield () if isinstance(found, CommandError) else found

    def unseen_in_words(self) -> list[str]:
        """What to say of the targets that couldn't be looked into, one sentence for each reason."""
        reasons: dict[str, list[Target]] = {}
        for target, error in self.unseen.items():
            reasons.setdefault(error.what, []).append(target)
        return [f"{some(found, 'target')} {_is_or_are(found)} left out: {why}" for why, found in reasons.items()]

    def unseen_documents(self) -> list[dict[str, str]]:
        """The same for programs."""
        return [
            {"account": target.account, "region": target.region, "reason": error.what}
            for target, error in self.unseen.items()
        ]


def _is_meant(text: str, target: Target) -> bool:
    return text in {target.account, target.region, str(target)}


def _no_such_target(text: str, known: Sequence[Target]) -> UsageError:
    if _BOTH in text:
        names = list(map(str, known))
    else:
        names = sorted({each.account if _ACCOUNT.fullmatch(text) else each.region for each in known})
    meant = f"{did_you_mean(text, names)} see: ".lstrip()
    return UsageError(f"there is no target {text}", advice(meant, Remedy(Kind.TARGETS)))


def _reached(place: Deployment) -> list[Deployment]:
    """The target itself, once its clients are there."""
    _ = place.app.ec2, place.app.iam
    return [place]


def _seen(place: Deployment, state: Enforced, instances: Iterable[list[Instance]]) -> Iterator[Seen | Unreadable]:
    for each in observed(place, state, instances):
        yield each if isinstance(each, Unreadable) else Seen.of(each, place)


def _answer[T](question: Callable[[Deployment], Iterable[T]], place: Deployment) -> Sequence[T] | CommandError:
    """All that one target answers; or why it couldn't be looked into."""
    try:
        return list(question(place))
    except AwsRefusalError as error:
        return why_unseen(error)


def why_unseen(error: AwsRefusalError) -> CommandError:
    """Why a target couldn't be looked into, and what to do."""
    told = explained(error)
    assert told is not None  # it is AWS's refusal
    if isinstance(error, AccessDeniedError) and error.action == "sts:AssumeRole":
        # What AWS says besides names the account; here one reason stands for many.
        return CommandError("you may not look there", told.remedy)
    return told


def _few_at_once[Item, Result](items: Sequence[Item], do: Callable[[Item], Result]) -> Iterator[tuple[Item, Result]]:
    """Do it for each, a few at once, and give the results in order."""
    coming, waiting = iter(items), deque[tuple[Item, Future[Result]]]()
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        waiting.extend((each, threads.submit(do, each)) for each in islice(coming, _AT_ONCE))
        while waiting:
            item, future = waiting.popleft()
            yield item, future.result()
            waiting.extend((each, threads.submit(do, each)) for each in islice(coming, 1))


def some(found: Sequence[object], kind: str) -> str:
    """The first of some things of a kind in words, and how many more there are."""
    names = list(map(str, found[:_NAMED]))
    if more := len(found) - len(names):
        names.append(f"{more:,} more {kind if more == 1 else f'{kind}s'}")
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _is_or_are(found: Sequence[Target]) -> str:
    return "is" if len(found) == 1 else "are"
