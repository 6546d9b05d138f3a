"""What verifications left: find it, and remove it. The services' own lists say what is there, and what is gone."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.explained import refusal
from rolekeeper_cli.verifying.aws import Aws
from rolekeeper_cli.verifying.kinds import BUCKET, KINDS, Kind, Leftover

# A run takes about twenty minutes. Nothing shows whether one is still going on but how new its things are.
RUNS_FOR = timedelta(hours=1)

# ---- finding ----


@dataclass(frozen=True, slots=True)
class Found:
    """What the services list.

    Attributes:
        leftovers: what is left in this Region, or is global and was left by a verification in it.
        elsewhere: the buckets of verifications in other Regions of the account.
        unproven: what only has a name like a verification's, by the id in it: nothing else shows that there was one.
        unknown: the lists that were refused. As long as there is one, nobody knows whether something is left.
    """

    leftovers: Sequence[Leftover]
    elsewhere: Sequence[Leftover]
    unproven: Sequence[Leftover]
    unknown: Sequence[AwsRefusalError]

    @property
    def lines(self) -> list[str]:
        """A line for each thing that is left, and for each list that was refused. None: nothing is left."""
        left = [f"{each.kind.name} {each.name}" for each in self.leftovers]
        return [*left, *(f"unknown: {refusal(each).what}" for each in self.unknown)]


def find(deployment: Deployment, id_: str | None = None, kinds: Sequence[Kind] = KINDS) -> Found:
    """Ask every service for what the verification of an id left, or each verification.

    The caller vouches for an `id_`; without one, only what is proven to be a verification's is in `leftovers`.
    """
    aws = Aws(deployment)
    listed: list[Leftover] = []
    unknown: list[AwsRefusalError] = []
    with deployment.progress(len(kinds), "lists read") as progress:
        for kind in progress.over(kinds):
            try:
                listed += kind.found(aws)
            except AwsRefusalError as error:
                unknown.append(error)
    elsewhere = [each for each in listed if each.region != aws.region]
    others = {each.id for each in elsewhere}
    here = [each for each in listed if each.id not in others and id_ in {None, each.id}]
    proven = {each.id for each in here if each.is_proof or each.id == id_}
    return Found(
        leftovers=[each for each in here if each.id in proven],
        elsewhere=elsewhere,
        unproven=[each for each in here if each.id not in proven],
        unknown=unknown,
    )


def by_id(leftovers: Iterable[Leftover]) -> Mapping[str, list[Leftover]]:
    """The things of each verification."""
    things: dict[str, list[Leftover]] = {}
    for each in leftovers:
        things.setdefault(each.id, []).append(each)
    return things


def newest(things: Iterable[Leftover]) -> datetime | None:
    """When the newest of these was made."""
    return max((each.since for each in things if each.since), default=None)


# ---- removing ----


class Deletion(StrEnum):
    """How far the deletion of a thing is."""

    STARTED = "deleting"
    DONE = "deleted"
    FAILED = "not deleted"


@dataclass(frozen=True, slots=True)
class Removal:
    """A step of the removal of one thing; `why` it wasn't deleted."""

    leftover: Leftover
    deletion: Deletion
    why: str = ""


# Most things are gone at once; a stack takes minutes.
_FIRST_LOOK_SECONDS, _LATER_LOOKS_SECONDS = 0.25, 8
# What one service refuses because of what another one has still, is gone the next time.
_ROUNDS = 3


def remove(deployment: Deployment, ids: Collection[str]) -> Iterator[Removal]:
    """Delete all that these verifications left in this Region; each step comes when it happens.

    A refusal stops nothing else. It may be interrupted anywhere, and begun again. What is left after it, `find` says.
    """
    aws, left, reported = Aws(deployment), set(ids), set[Removal]()
    for _ in range(_ROUNDS):
        deleted = False
        for each in _round(deployment, aws, left):
            deleted = deleted or each.deletion is Deletion.DONE
            if each.deletion is Deletion.DONE or each not in reported:
                reported.add(each)
                yield each
        if not left or not deleted:
            return


def _round(deployment: Deployment, aws: Aws, left: set[str]) -> Iterator[Removal]:
    """Delete each kind of thing once; ids of which nothing is left are taken out of `left`."""
    kinds = [each for each in KINDS if each is not BUCKET]
    for kind in kinds:
        yield from _delete(deployment, aws, kind, ids=left)
    try:
        cleared = left - {each.id for kind in kinds for each in kind.found(aws)}
    except AwsRefusalError:
        return  # the bucket stays as well: it shows that something may be left
    yield from _delete(deployment, aws, BUCKET, ids=cleared)
    left -= cleared


def _delete(deployment: Deployment, aws: Aws, kind: Kind, ids: Collection[str]) -> Iterator[Removal]:
    """Ask for the deletion of each thing of a kind, until none is listed any longer or its patience is over."""
    asked, before = _Asked(aws), list[Leftover]()
    for patience in deployment.looks(_FIRST_LOOK_SECONDS, kind.patience, most=_LATER_LOOKS_SECONDS):
        try:
            listed = [each for each in kind.found(aws) if each.id in ids]
        except RetryableError:
            if patience.is_over:
                return
            continue
        except AwsRefusalError:
            return  # `find` says so
        for gone in (each for each in before if each not in listed):
            yield Removal(gone, Deletion.DONE)
            patience.renew()
        for each in listed:
            if step := asked.step(each, late=patience.is_over):
                yield step
        if asked.failed.issuperset(listed):
            return
        before = listed


@dataclass(slots=True)
class _Asked:
    """Whose deletion was accepted, was refused and why, or has failed for good."""

    aws: Aws
    accepted: set[Leftover] = field(default_factory=set)
    refused: dict[Leftover, str] = field(default_factory=dict)
    failed: set[Leftover] = field(default_factory=set)

    def step(self, leftover: Leftover, *, late: bool) -> Removal | None:
        """What there is to say of a thing that is listed still."""
        if leftover in self.failed:
            return None
        started = leftover in self.accepted
        why = leftover.failed if started else self._ask(leftover)
        if late:
            why = why or self.refused.get(leftover) or "it is still there"
        if why:
            self.failed.add(leftover)
            return Removal(leftover, Deletion.FAILED, why)
        return Removal(leftover, Deletion.STARTED) if started else None

    def _ask(self, leftover: Leftover) -> str:
        """Ask for its deletion; returns why not if waiting wouldn't help."""
        try:
            leftover.kind.delete(self.aws, leftover)
        except AccessDeniedError as error:
            return refusal(error).what
        except AwsRefusalError as error:
            # Another thing may still need it; and what is gone already won't be listed next time.
            self.refused[leftover] = refusal(error).what
        else:
            self.accepted.add(leftover)
        return ""
