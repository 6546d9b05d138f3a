"""All that the page of one instance shows: what `explain` and `history` say, its tags, and what its role may do."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.permissions.policies import TooManyRulesError
from rolekeeper_cli.console.undo_links import UndoLink, undo_link
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ConfigurationError, ServiceError, explained
from rolekeeper_cli.instances import ID, SeveralNamedError
from rolekeeper_cli.suggest import near
from rolekeeper_cli.views import explain, history

type Document = Mapping[str, Any]

# The newest entries of the timeline; the command shows more.
ENTRIES = 50
_KEPT = 64


@dataclass(frozen=True, slots=True)
class May:
    """What a role may do, in words; `unknown` says why that isn't known. `role` is empty where none is carried."""

    role: str = ""
    phrases: tuple[str, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """See the module.

    Attributes:
        id: the instance's id.
        shown: what `explain` says of it; None of one that is gone.
        tags: its tags.
        may: what the role that it carries may do.
        timeline: its history, newest first.
        undo: how to undo the last change.
        gone: why there is no more to say, in words; empty where it is there.
    """

    id: str
    shown: Document | None
    tags: Mapping[str, str]
    may: May
    timeline: Sequence[Document]
    undo: Sequence[UndoLink]
    gone: str = ""

    @property
    def whole(self) -> bool:
        """Whether the timeline goes back as far as there is history."""
        return len(self.timeline) < ENTRIES


class NoSuchInstanceError(CommandError):
    """There is none; `near` are ids and names that may have been meant."""

    def __init__(self, error: CommandError, names: Sequence[str]) -> None:
        super().__init__(error.what, error.remedy)
        self.near = tuple(names)


def tell(deployment: Deployment, text: str, known: Callable[[], Sequence[str]]) -> Story:
    """The story of the instance that a text, its id or its name, names.

    Args:
        deployment: where; one that has asked nothing yet.
        text: what names it.
        known: gives the ids and names that there are.

    Raises:
        NoSuchInstanceError: there is none, and no history of one.
        SeveralNamedError: several have this name.
    """
    try:
        found = explain.explanation(deployment, text, ask_who=False)
    except (ConfigurationError, ServiceError, SeveralNamedError):
        raise
    except CommandError as error:
        return _gone(deployment, text, error, known=known)
    shown = found.document
    id_ = shown["instance"]
    instance = deployment.app.ec2.instances([id_]).get(id_)
    tags = dict(instance.tags) if instance else {}
    timeline = history.entries(deployment, id_, ENTRIES) if shown["last"] else ()
    undo = [undo_link(id_, each) for each in found.undo]
    return Story(id_, shown, tags, may=_may(deployment, shown), timeline=timeline, undo=undo)


def _gone(deployment: Deployment, text: str, error: CommandError, known: Callable[[], Sequence[str]]) -> Story:
    """What is kept of one that is gone."""
    try:
        timeline = history.entries(deployment, text, ENTRIES) if ID.fullmatch(text) else ()
    except CommandError:
        timeline = ()
    if not timeline:
        raise NoSuchInstanceError(error, near(text, known())) from error
    return Story(text, None, {}, may=May(), timeline=timeline, undo=(), gone=error.what)


def _may(deployment: Deployment, shown: Document) -> May:
    """What the role that it carries may do; it is the profile that is carried, and IAM says which role that holds."""
    if not shown["carries"]:
        return May()
    name = str(shown["carries"]["instance_profile"])
    try:
        profile = deployment.app.iam.get_instance_profile(name)
        if profile is None or not profile.role_arn:
            return May(name, unknown="IAM knows no role in this instance profile")
        return May(profile.role_name, deployment.app.roles.policies.allowed(profile.role_name))
    except AwsRefusalError as error:
        told = explained(error)
        return May(name, unknown=told.what if told else str(error))
    except TooManyRulesError as error:
        return May(name, unknown=str(error))


class Stories[T]:
    """The last stories, by instance and stamp: of several tabs that ask for the same one, the first makes it.

    What a role may do has no stamp, so each minute has its own.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, int, int], _Once[T]] = OrderedDict()
        self._lock = Lock()

    def get(self, instance: str, stamp: int, minute: int, make: Callable[[], T]) -> T:
        """The story; `make` makes it."""
        with self._lock:
            once = self._made.setdefault((instance, stamp, minute), _Once())
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return once.get(make)


class _Once[T]:
    """Made once. What fails is the error of all who waited for it, and made again by the next one who asks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._story: T | None = None
        self._failed: tuple[float, Exception] | None = None

    def get(self, make: Callable[[], T]) -> T:
        asked = time.monotonic()
        with self._lock:
            if self._failed and self._failed[0] >= asked:
                raise self._failed[1]
            if self._story is None:
                try:
                    self._story = make()
                except Exception as error:
                    self._failed = (time.monotonic(), error)
                    raise
            return self._story
