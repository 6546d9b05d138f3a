"""An instance's history: every change, wait and hold, with its cause and AWS's answer."""

import json
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice, pairwise
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.instance import Action, Association, InstanceKey, Target
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.storage import layout
from rolekeeper.storage.layout import DONE, REFUSED
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import why_unseen
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.instance import who
from rolekeeper_cli.instance.seen import profile_name
from rolekeeper_cli.instance.use import ID, STANDS, addressed, find_instance, key_of, located, where
from rolekeeper_cli.instance.view import AnswerView, ControlEntryView, EntryView, LoserView, SeenView

_CONTROL = ("at", "from", "to", "in-effect", "claimed-by", "claimed-reason", "correlation-id")


def entries(deployment: Deployment, text: str, limit: int, *, ask_who: bool = False) -> list[EntryView]:
    """The newest entries of an instance, which may be gone: then by its id, as long as they are kept.

    With `ask_who`, each entry has who made the changes that it saw. CommandError if there are none, or no such
    instance.
    """
    deployment, text = located(deployment, text)
    key = key_of(deployment, text) if ID.fullmatch(text) else find_instance(deployment, text).key
    found = newest(deployment, key, limit)
    if not found:
        # Raises if the id is a slip; otherwise Rolekeeper never did anything to the instance.
        try:
            find_instance(deployment, text)
        except AccessDeniedError as error:
            what = f"{key.id} has no history, and whether it is there isn't known: {why_unseen(error).what}"
            raise CommandError(what, advice("see whether the hub may: ", Remedy(Kind.TARGETS))) from error
        how = advice("see its status: ", Remedy(Kind.EXPLAIN, (addressed(deployment, key.id),)))
        raise CommandError(f"{key.id} has no history", how)
    if ask_who:
        asked = [who.about_entry(entry, older) for entry, older in pairwise((*found, None)) if entry]
        answers = iter(who.ask(deployment, key.id, list(chain.from_iterable(asked))))
        both = zip(found, asked, strict=True)
        return [entry.but(who=list(islice(answers, len(some)))) for entry, some in both]
    return found


def newest(deployment: Deployment, key: InstanceKey, limit: int) -> list[EntryView]:
    return [entry_view(key, entry) for entry in deployment.app.store.history(layout.instance_pk(key), limit)]


def control_history(deployment: Deployment, limit: int) -> list[ControlEntryView]:
    found = deployment.app.store.history(layout.CONTROL_REPORTED[0], limit)
    return [ControlEntryView(**fields_of({name: entry[name] for name in _CONTROL})) for entry in found]


def fields_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored map as a view's fields: they have underscores, where the state table has hyphens; "" is None."""
    names = {name: "from_" if name == "from" else name.replace("-", "_") for name in stored}
    return {names[name]: None if value == "" else value for name, value in stored.items()}


def decision_fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    losers = [LoserView(**loser) for loser in stored["losers"]]
    return fields_of(stored) | {"revision": int(stored["revision"]), "losers": losers}


def entry_view(key: InstanceKey, entry: Mapping[str, Any]) -> EntryView:
    """A history entry, or a decision's line of the log, for programs: both have the same fields."""
    decision = decision_fields(entry["decision"])
    return EntryView(
        **decision,
        at=entry["at"],
        **where(key),
        cause=entry["cause"],
        from_=profile_name(entry["seen"]["profile-arn"]),
        to=profile_name(entry["decision"]["profile-arn"]),
        answer=AnswerView(**fields_of(entry["answer"])),
        outcome=entry.get("outcome") or None,
        seconds=int(entry["seconds"]) if "seconds" in entry else None,
        seen=SeenView(**fields_of(entry["seen"])),
        correlation_id=entry["correlation_id"],
    )


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which an instance carried a profile."""

    profile_arn: str
    since: datetime | None = None  # when it was attached; None if that isn't known
    after: datetime | None = None  # that was no earlier: another one was seen
    before_end: datetime | None = None  # it was taken no earlier
    until: datetime | None = None  # it was taken no later; None if that isn't known, or it wasn't
    carried: bool = False
    role_arn: str = ""
    mapping: str = ""  # the one for which Rolekeeper attached it
    granted: bool = False  # whether a grant explains it, of one whose entry isn't kept

    @property
    def attached_by(self) -> str:
        return "Rolekeeper" if self.since or self.granted else "another actor"


def spans(entries: Sequence[EntryView], shown: Association | None, *, granted: bool = False) -> list[Span]:
    """What an instance carried, the oldest first: by its history (`entries`, the newest first), and by what EC2 shows.

    `granted` says whether a grant explains that.
    """
    found, last = [Span("")], None
    outdated = _outdated(entries[::-1], shown)

    def becomes(profile_arn: str, at: datetime | None, since: datetime | None = None, mapping: str = "") -> None:
        if found[-1].profile_arn != profile_arn:
            found[-1] = replace(found[-1], before_end=since or last, until=at)
            found.append(Span(profile_arn, since, after=since or last, mapping=mapping))

    for number, each in enumerate(reversed(entries)):
        at, seen = datetime.fromisoformat(each.at), each.seen
        if number not in outdated:
            becomes(seen.profile_arn or "" if seen.association_state in STANDS else "", at)
        if each.answer.association_id and each.outcome != layout.REFUSED:
            becomes(each.profile_arn or "", at, since=at, mapping=each.mapping or "")
        last = at
    becomes(shown.profile_arn if shown and shown.state in STANDS else "", None)
    found[-1] = replace(found[-1], carried=True, granted=granted)
    return [each for each in found if each.profile_arn]


def _outdated(entries: Sequence[EntryView], shown: Association | None) -> set[int]:
    """The places of entries, the oldest first, that saw what was over: another worker had made an association already.

    Each association has an id of its own, so it was there from the entry that made it until it is seen last, and it
    was gone after the first change of it, which of a detach EC2 answers with the same id.
    """
    ids = [(each.seen.association_id, each.answer.association_id) for each in entries]
    ended = {saw: number for number, (saw, id_) in reversed([*enumerate(ids)]) if saw and id_}
    late = {at for at, (saw, _) in enumerate(ids) if ended.get(saw or "", at) < at}
    last = {saw: number for number, (saw, _) in enumerate(ids) if number not in late}
    last |= {shown.id: len(entries)} if shown else {}
    made = {id_: number for number, (saw, id_) in enumerate(ids) if id_ not in (None, saw)}
    there = ((id_, range(number + 1, last.get(id_, 0))) for id_, number in made.items())
    return late | {at for id_, between in there for at in between if ids[at][0] != id_}


# The functions that decide about instances, by their log groups in the stack.
_GROUPS = ("OnInstanceEventLogs", "OnRetryLogs")
# A line may reach CloudWatch this much later than its own time.
_LATE = timedelta(seconds=60)
_REMEMBERED = 10_000
# Those of the parameter LogLevel at which decisions are logged.
_LEVELS = frozenset({"DEBUG", "INFO"})

# How far back the fleet's history goes: first a little, as each look reads all of a time.
_BACK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)


def of_fleet(
    deployment: Deployment, limit: int, targets: Collection[Target] = (), *, all_: bool = False
) -> list[EntryView]:
    """Return the newest decisions of these targets, or of all, by the functions' logs.

    Those to do something, or `all_`.
    """
    found: list[EntryView] = []
    for back in _BACK:
        if len(found) < limit:
            log = DecisionLog(deployment, deployment.now() - back)
            wanted = (entry for entry in log.news() if all_ or entry.action != Action.NOTHING)
            found = [each for each in wanted if not targets or Target(each.account, each.region) in targets]
    return found[: -limit - 1 : -1]


class DecisionLog:
    """The decisions in the log groups, each given once, those of each call in the order of their times."""

    def __init__(self, deployment: Deployment, since: datetime, *, late: timedelta = _LATE, pause: float = 0.0) -> None:
        """AWS isn't asked yet.

        Args:
            late: how much later than its own time a line may arrive and is still found.
            pause: seconds between two calls, for a caller that goes on for long and shares the quota.
        """
        self._deployment = deployment
        self._groups = [deployment.resource(each) for each in _GROUPS]
        self._since = since
        self._late = late
        self._pause = pause
        self._seen: OrderedDict[str, None] = OrderedDict()

    def news(self, until: datetime | None = None) -> Iterator[EntryView]:
        begin = self._deployment.now()
        found = [event for group in self._groups for event in self._events(group, until)]
        for event in sorted(found, key=lambda each: (each["timestamp"], each["eventId"])):
            self._seen[event["eventId"]] = None
            if decision := _decision(event["message"]):
                yield decision
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self._since = max(self._since, begin - self._late)

    def _events(self, group: str, until: datetime | None) -> Iterator[Any]:
        start = int(self._since.timestamp() * 1_000)
        asked: dict[str, Any] = {"logGroupName": group, "startTime": start, "filterPattern": '"decided"'}
        asked |= {"endTime": int(until.timestamp() * 1_000)} if until else {}
        while True:
            answer = self._deployment.ask("logs:FilterLogEvents", group, **asked)
            yield from (each for each in answer["events"] if each["eventId"] not in self._seen)
            if "nextToken" not in answer:
                return
            asked["nextToken"] = answer["nextToken"]
            if self._pause:
                self._deployment.sleep(self._pause)


def level_missing(deployment: Deployment) -> str:
    """Why the functions log no decisions, and what to do; empty if they do."""
    level = deployment.stack.parameters.get("LogLevel", "INFO")
    if level in _LEVELS:
        return ""
    return f"the functions log from {level} on, and decisions are logged at INFO: deploy with LogLevel=INFO"


def _decision(message: str) -> EntryView | None:
    try:
        line = json.loads(message)
    except ValueError:
        return None
    if not isinstance(line, dict) or line.get("message") != "decided":
        return None
    # As Powertools writes it: 2026-01-01 00:00:00,000+0000.
    logged = datetime.strptime(line["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z")
    # It is logged once EC2 answered, if that was asked.
    done = DONE if Action(line["decision"]["action"]).mutates else None
    entry = {**line, "at": layout.timestamp(logged), "outcome": REFUSED if "code" in line["answer"] else done}
    return entry_view(InstanceKey(line["account"], line["region"], line["instance-id"]), entry)
