"""What verifications left: find it, and remove it. The services' own lists say what is there, and what is gone."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_verify.aws import Aws
from rolekeeper_verify.kinds import BUCKET, KINDS, Kind, Leftover, key_of
from rolekeeper_verify.names import Names
from rolekeeper_verify.proof import STACK, Proof, Record, end

# A run takes about twenty minutes. Nothing shows whether one is still going on but how new its things are.
RUNS_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Found:
    """What the services list."""

    # What is proven to be a verification's in this Region, or to be global and of one in it.
    leftovers: Sequence[Leftover]
    elsewhere: Sequence[Leftover]  # the buckets of verifications in other Regions of the account
    unproven: Sequence[Leftover]  # what only has a name or a tag like a verification's
    # What was refused. As long as there is one, nobody knows whether something is left.
    unknown: Sequence[AwsRefusalError]
    records: Mapping[str, Record]  # those of the verifications in this Region, by id

    @property
    def lines(self) -> list[str]:
        """A line for each thing that is left, and for each list that was refused. None: nothing is left.

        What has its name counts, as nobody else knows the id when things get their names; what has its tag doesn't.
        """
        named = [f"not proven to be its own: {thing.words}" for thing in self.unproven if thing.is_named]
        unknown = [f"unknown: {refusal(error).what}" for error in self.unknown]
        return [*(thing.words for thing in self.leftovers), *named, *unknown]


@dataclass
class _Account:
    """The account and Region, with the records of verifications in it, by id, and what proves their things."""

    aws: Aws
    records: Mapping[str, Record]
    _proofs: Mapping[str, Proof] = field(default_factory=dict)

    def prove(self) -> None:
        """Ask what is proven by now. AwsRefusalError if CloudFormation doesn't say."""
        self._proofs = {id_: Proof(record) for id_, record in self.records.items()}
        self._proofs = {id_: Proof.of(self.aws, record, key_of) for id_, record in self.records.items()}

    def listed(self, kind: Kind) -> list[Leftover]:
        """All of a kind. What those that are proven prove is in their record from now on."""
        found = kind.found(self.aws, [*self.records.values()])
        for thing in found:
            for key in thing.proves if self.proves(thing) else ():
                with suppress(AwsRefusalError):  # of what isn't kept, the next sweep doesn't know
                    self.records[thing.id].add(*key, at=self.aws.now())
        return found

    def proves(self, thing: Leftover) -> bool:
        proof = self._proofs.get(thing.id)
        return proof is not None and proof.covers(thing.keys, thing.since)


def find(deployment: Deployment, record: Record | None = None) -> Found:
    """Ask every service for what a verification left, by its record, or each one, by the records in their buckets."""
    aws, unknown = Aws(deployment), list[AwsRefusalError]()

    def asked[T](look: Callable[[], T], otherwise: T) -> T:
        try:
            return look()
        except AwsRefusalError as error:
            unknown.append(error)
            return otherwise

    buckets = asked(partial(BUCKET.found, aws), list[Leftover]())
    elsewhere = [bucket for bucket in buckets if bucket.region != aws.region]
    records = {record.names.id: record} if record else {}
    for bucket in () if record else (found for found in buckets if found.region == aws.region):
        if read := asked(partial(Record.read, aws, Names(bucket.id), bucket.name), None):
            records[bucket.id] = read
    account = _Account(aws, records)
    asked(account.prove, None)
    things = list[Leftover]()
    with deployment.progress(len(KINDS), "lists read") as progress:
        for kind in progress.over(KINDS):
            things += asked(partial(account.listed, kind), list[Leftover]())
    others = {bucket.id for bucket in elsewhere} - records.keys()
    here = [thing for thing in things if thing.id not in others and (record is None or thing.id == record.names.id)]
    return Found(
        leftovers=[thing for thing in here if account.proves(thing)],
        elsewhere=elsewhere,
        unproven=[thing for thing in here if not account.proves(thing)],
        unknown=unknown,
        records=records,
    )


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
# After this long nothing is waited for: a deletion may be accepted and never happen.
LONGEST = timedelta(minutes=60)


def remove(deployment: Deployment, records: Collection[Record]) -> Iterator[Removal]:
    """Delete all that these verifications made in this Region; each step comes when it happens.

    A refusal stops nothing else. It may be interrupted anywhere, and begun again. What is left after it, `find` says.
    """
    aws = Aws(deployment)
    for record in records:
        record.keep_in(aws, record.names.bucket(aws.account, aws.region))
    removing, reported = _Removing(deployment, aws, records), set[Removal]()
    for _ in range(_ROUNDS):
        deleted = False
        for removal in removing.round():
            deleted = deleted or removal.deletion is Deletion.DONE
            if removal.deletion is Deletion.DONE or removal not in reported:
                reported.add(removal)
                yield removal
        if not removing.records or not deleted or removing.is_over:
            return


class _Removing:
    """The removal of what the account's records prove; a record of which nothing is left is taken out of them."""

    def __init__(self, deployment: Deployment, aws: Aws, records: Iterable[Record]) -> None:
        self._deployment, self._account = deployment, _Account(aws, {record.names.id: record for record in records})
        self._until = deployment.now() + LONGEST

    @property
    def records(self) -> Mapping[str, Record]:
        return self._account.records

    @property
    def is_over(self) -> bool:
        return self._deployment.now() >= self._until

    def round(self) -> Iterator[Removal]:
        """Delete each kind of thing once, and the bucket of a verification of which nothing else is left."""
        account, kinds = self._account, [kind for kind in KINDS if kind is not BUCKET]
        self._prove()
        for kind in kinds:
            yield from self._delete(kind, among=account.records)
            if kind.type == STACK:
                self._prove()  # it has deleted what it made, or has not
        try:
            account.prove()  # what isn't known to be proven may be left
            there = {thing.id for kind in kinds for thing in account.listed(kind) if account.proves(thing)}
        except AwsRefusalError:
            return  # the bucket stays as well: it shows that something may be left
        cleared = account.records.keys() - there
        for removal in self._delete(BUCKET, among=cleared):
            yield removal
            if removal.deletion is Deletion.DONE:
                end(removal.leftover.name)
        account.records = {id_: record for id_, record in account.records.items() if id_ in there}

    def _prove(self) -> None:
        with suppress(AwsRefusalError):  # `find` says so
            self._account.prove()

    def _delete(self, kind: Kind, among: Collection[str]) -> Iterator[Removal]:
        """Ask for the deletion of each thing of a kind, until none is listed any longer or its patience is over."""
        account, asked, before = self._account, _Asked(self._account.aws), list[Leftover]()
        for patience in self._deployment.looks(_FIRST_LOOK_SECONDS, kind.patience, most=_LATER_LOOKS_SECONDS):
            late = patience.is_over or self.is_over
            try:
                listed = [thing for thing in account.listed(kind) if thing.id in among and account.proves(thing)]
            except RetryableError:
                if late:
                    return
                continue
            except AwsRefusalError:
                return  # `find` says so
            for gone in (each for each in before if each not in listed):
                yield Removal(gone, Deletion.DONE)
                patience.renew()
            for each in listed:
                if step := asked.step(each, late=late):
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
            leftover.kind.delete(self.aws, leftover.ref)
        except AccessDeniedError as error:
            return refusal(error).what
        except AwsRefusalError as error:
            # Another thing may still need it; and what is gone already won't be listed next time.
            self.refused[leftover] = refusal(error).what
        else:
            self.accepted.add(leftover)
        return ""
