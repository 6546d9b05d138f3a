"""Who did it: which calls CloudTrail has for the tags and the roles that a decision rests on, and who made them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError, AwsRefusalError, RetryableError
from rolekeeper.instances.decide import Observation
from rolekeeper.model import escaped
from rolekeeper.model.instance import AssociationState
from rolekeeper.model.mapping import IGNORE_TAG
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.views.event_history import ACTION, ASSOCIATE, DISASSOCIATE, REPLACE, Caller, Event, EventHistory
from rolekeeper_cli.views.looking import profile_name

type Entry = Mapping[str, Any]

# An entry's time is a moment after what it saw, and an event's is a whole second.
_SLACK = timedelta(seconds=60)
# The states of an association that stands.
_STANDS = frozenset({AssociationState.ASSOCIATING, AssociationState.ASSOCIATED})


@dataclass(frozen=True, slots=True)
class Question:
    """Who did a thing to an instance: the newest event that did it, by `until` and not before `since`.

    `calls` are looked up by their names too: no source says that CloudTrail lists the instance among their resources.
    """

    what: str
    about: str
    did: Callable[[Event], bool]
    calls: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def answered_by(self, event: Event) -> bool:
        """Whether this event is the answer."""
        early = self.since and event.at < self.since
        late = self.until and event.at > self.until
        return not early and not late and self.did(event)


@dataclass(frozen=True, slots=True)
class Answer:
    """The event that answers a question; or None, and why."""

    question: Question
    event: Event | None
    because: str = ""

    def document(self) -> dict[str, Any]:
        """For programs."""
        event = self.event
        return {
            "what": self.question.what,
            "about": self.question.about,
            "by": asdict(event.by) if event else None,
            "event": event.name if event else None,
            "event_id": event.id if event else None,
            "at": event.at if event else None,
            "unknown_because": self.because or None,
        }


def ask(deployment: Deployment, instance: str, questions: Sequence[Question]) -> list[Answer]:
    """Ask CloudTrail. It says why it has no answer, and never fails: the rest is worth showing without it."""
    if not questions:
        return []
    if deployment.elsewhere:
        account = deployment.settings.account
        return [
            Answer(each, None, f"the CloudTrail of account {account} can't be asked from here") for each in questions
        ]
    found: dict[int, Event] = {}
    because, region = "", str(deployment.session.region_name)
    with deployment.progress(None, "events of CloudTrail looked through") as progress:
        try:
            history = EventHistory(deployment)
            for event in progress.over(_events(history, instance, questions, found=found)):
                for at, each in enumerate(questions):
                    if at not in found and each.answered_by(event):
                        found[at] = event
            because = _not_found(history, region)
        except AwsRefusalError as error:
            because = _no_answer(error)
    return [Answer(each, found.get(at), "" if at in found else because) for at, each in enumerate(questions)]


def _events(
    history: EventHistory, instance: str, questions: Sequence[Question], found: Mapping[int, Event]
) -> Iterator[Event]:
    """The events of the instance in the time of each question; then, of what is still open, calls by their names.

    An instance with a role has an event for each of its sessions, some a day: so each time is looked at by itself.
    `found` is filled while they come.
    """
    for window in dict.fromkeys((each.since, each.until) for each in questions):
        asked = [at for at, each in enumerate(questions) if (each.since, each.until) == window]
        yield from _until_answered(history.lookup("ResourceName", instance, *window), asked, found, instance=instance)
    for at, each in enumerate(questions):
        for name in each.calls:
            named = history.lookup("EventName", name, each.since, until=each.until)
            yield from _until_answered(named, [at], found, instance=instance)


def _until_answered(
    events: Iterable[Event], asked: Sequence[int], found: Mapping[int, Event], instance: str
) -> Iterator[Event]:
    """Events while a question is open, back to the instance's launch: nothing is older."""
    if all(at in found for at in asked):
        return
    for event in events:
        yield event
        if event.launched(instance) or all(at in found for at in asked):
            return


def _not_found(history: EventHistory, region: str) -> str:
    if history.cut:
        return f"not among the {history.looked_at:,} events that were looked through, and there are more"
    why = "older than 90 days, not there yet (up to 15 minutes late), or another Region's"
    return f"not in CloudTrail's event history of {region}: {why}"


def _no_answer(error: AwsRefusalError) -> str:
    if isinstance(error, AccessDeniedError):
        return f"you aren't allowed {ACTION}"
    if isinstance(error, RetryableError):
        return f"CloudTrail gave no answer ({escaped(error.code)})"
    return f"CloudTrail refused: {escaped(str(error))}"


# ---- what is asked ----


def about_now(observed: Observation, entries: Sequence[Entry]) -> list[Question]:
    """Who set or removed the tag that decides, attached a role that isn't Rolekeeper's, or reverted one that is."""
    id_, association = observed.key.id, observed.association
    tags = dict(observed.instance.tags) if observed.instance else {}
    asked = [
        _about_tag(id_, key, tags.get(key), *_tag_window(entries, key, tags.get(key)))
        for key in _deciding(observed, tags, entries)
    ]
    ours = {each["answer"].get("association-id") for each in entries}
    present = association.id if association and association.state in _STANDS else ""
    if association and present and not observed.grant and present not in ours:
        asked.append(_attached(id_, present, association.profile_arn, entries=entries))
    last = next((each for each in entries if each["answer"].get("association-id")), None)
    if last and (made := _made(last)) and made != present:
        gone = [each for each in entries[: entries.index(last)] if _seen(each) != made]
        asked.append(_ended(made, "reverted", _since(last), until=_until(gone[-1]) if gone else None))
    return asked


def about_entry(instance: str, entry: Entry, older: Entry | None) -> list[Question]:
    """Who changed the tags and the role that an entry of the history saw, since the one before it."""
    since, until = _since(older) if older else None, _until(entry)
    now, before = entry["seen"], older["seen"] if older else {}
    tags, former = now["tags"], before.get("tags", {})
    asked = [
        # That an entry lacks a tag may mean that no mapping read it then.
        _about_tag(instance, key, tags.get(key), since=since if key in former else None, until=until)
        for key in sorted(_read_keys(entry, older))
        if tags.get(key) != former.get(key)
    ]
    stood = _left_by(older) if older else ""
    present = _seen(entry)
    if stood and stood != present:
        what = "reverted" if older and _made(older) else "detached"
        asked.append(_ended(stood, what, since, until=until))
    if present and stood != present:
        asked.append(_attached(instance, present, now["profile-arn"], entries=[entry, older] if older else [entry]))
    return asked


def _deciding(observed: Observation, tags: Mapping[str, str], entries: Sequence[Entry]) -> list[str]:
    """The keys of the tags that decide; where no mapping is for the instance any more, of the tag that went."""
    candidates, pin = observed.candidates, observed.pin
    if pin and not pin.expired(observed.asked_at):
        return []
    if candidates.exclusion:
        return [IGNORE_TAG]
    mappings = candidates.in_conflict or ((candidates.winner,) if candidates.winner else ())
    if mappings:
        return sorted({each.key.tag_key for each in mappings})
    if observed.grant and not observed.grant.mapping.pins:
        key = observed.grant.mapping
        return [] if key.matches(tags) else [key.tag_key]
    if not entries:
        return []
    text = entries[0]["decision"]["mapping"]
    known = {key for each in entries for key in each["seen"]["tags"]}
    gone = [key for key in sorted(known) if text.startswith(f"{key}=")]
    return [key for key in gone if text not in (f"{key}={tags.get(key)}", f"{key}=*" if key in tags else "")]


def _tag_window(entries: Sequence[Entry], key: str, value: str | None) -> tuple[datetime | None, datetime | None]:
    """Between which times a tag came to be as it is: since an entry saw another value, until the first saw this one."""
    saw = list(takewhile(lambda each: each["seen"]["tags"].get(key) == value, entries))
    others = [each for each in entries[len(saw) :] if key in each["seen"]["tags"]]
    return _since(others[0]) if others else None, _until(saw[-1]) if saw and value is not None else None


def _read_keys(*entries: Entry | None) -> set[str]:
    """The keys of the tags that the mappings in these entries read: no other tag is shown."""
    there = [each for each in entries if each]
    texts = [text for each in there for text in _mappings(each)]
    keys = {key for each in there for key in each["seen"]["tags"]}
    return {key for key in keys if key == IGNORE_TAG or any(text.startswith(f"{key}=") for text in texts)}


def _mappings(entry: Entry) -> Iterable[str]:
    decision = entry["decision"]
    return [decision["mapping"], *(each["mapping"] for each in decision["losers"])]


def _about_tag(
    instance: str, key: str, value: str | None, since: datetime | None = None, until: datetime | None = None
) -> Question:
    if value is None:
        return Question("untagged", key, lambda event: event.removes(instance, key), calls=(), since=since, until=until)
    return Question(
        "tagged", f"{key}={value}", lambda event: event.sets(instance, key, value), calls=(), since=since, until=until
    )


def _attached(instance: str, association: str, profile_arn: str, entries: Sequence[Entry]) -> Question:
    """By whom; the entries before and after narrow down when. A launch counts where none saw another association."""
    saw = [each for each in entries if _seen(each) == association]
    others = [each for each in entries if each not in saw]
    # Newest first, as the history has them: the oldest that saw it, and what is older.
    before = others if not saw else [each for each in others if each["at"] < saw[-1]["at"]]

    def did(event: Event) -> bool:
        return event.makes(association) or (not others and event.launches_with(instance, profile_arn))

    since = _since(before[0]) if before else None
    until = _until(saw[-1]) if saw else None
    return Question(
        "attached", str(profile_name(profile_arn)), did, calls=(ASSOCIATE, REPLACE), since=since, until=until
    )


def _ended(association: str, what: str, since: datetime | None, until: datetime | None) -> Question:
    return Question(
        what,
        association,
        lambda event: event.ends(association),
        calls=(REPLACE, DISASSOCIATE),
        since=since,
        until=until,
    )


def _made(entry: Entry) -> str:
    """The association that Rolekeeper made by an entry; empty for none."""
    answer = entry["answer"]
    return str(answer["association-id"]) if answer.get("state") in _STANDS else ""


def _seen(entry: Entry) -> str:
    """The association that an entry saw; empty for none, or one that was going."""
    seen = entry["seen"]
    return str(seen["association-id"]) if seen["association-state"] in _STANDS else ""


def _left_by(entry: Entry) -> str:
    """The association that stood once an entry's change was made; empty for none."""
    answer = entry["answer"]
    return _made(entry) if "association-id" in answer else _seen(entry)


def _since(entry: Entry) -> datetime:
    return datetime.fromisoformat(f"{entry['at'][:19]}+00:00") - _SLACK


def _until(entry: Entry) -> datetime:
    return datetime.fromisoformat(f"{entry['at'][:19]}+00:00") + _SLACK


# ---- for people ----


def lines(answers: Iterable[Mapping[str, Any]], account: str) -> Iterator[tuple[str, str]]:
    """Documents of answers as lines of a table: those without one in one line for each reason."""
    unknown: dict[str, list[str]] = {}
    for each in answers:
        if each["by"]:
            yield f"{each['what']} by", in_words(each, account)
        else:
            unknown.setdefault(each["unknown_because"], []).append(f"{each['what']} {each['about']}")
    for because, whats in unknown.items():
        yield "unknown who", f"{', '.join(whats)}: {because}"


def in_words(answer: Mapping[str, Any], account: str) -> str:
    """Who did it, by which call and when."""
    tag = f" {answer['about']}" if answer["what"] in {"tagged", "untagged"} else ""
    return f"{Caller(**answer['by']).words(account)} ({answer['event']}{tag}, {answer['at']:%Y-%m-%dT%H:%M:%SZ})"
