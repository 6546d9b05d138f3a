"""Who set the tags and attached the roles that a decision rests on: the calls in CloudTrail's event history."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from rolekeeper.aws.errors import AwsRefusalError
from rolekeeper.instances.decide import Observation
from rolekeeper.model.mapping import ANY_VALUE, IGNORE_TAG, MappingKey
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.instance.event_history import ASSOCIATE, DISASSOCIATE, REPLACE, Event, EventHistory, no_answer
from rolekeeper_cli.instance.seen import profile_name
from rolekeeper_cli.instance.use import STANDS
from rolekeeper_cli.instance.view import EntryView, WhoView

type Window = tuple[datetime | None, datetime | None]

# An entry's time is a moment after what it saw, and an event's is a whole second.
_SLACK = timedelta(seconds=60)


@dataclass(slots=True)
class Question:
    """Who did a thing to an instance: the newest event within a `window` that did it.

    `calls` are looked up by their names too: no source says that CloudTrail lists the instance among their resources.
    `event` is the answer, once it was found.
    """

    what: str
    about: str
    did: Callable[[Event], bool]
    window: Window
    calls: tuple[str, ...] = ()
    event: Event | None = None

    def consider(self, event: Event) -> None:
        """Take an event as the answer, if it is. Newer events come first."""
        since, until = self.window
        is_within = (since is None or since <= event.at) and (until is None or event.at <= until)
        if not (self.event or event.refused) and is_within and self.did(event):
            self.event = event

    def view(self, because: str) -> WhoView:
        event = self.event
        return WhoView(
            what=self.what,
            about=self.about,
            by=event.by if event else None,
            event=event.name if event else None,
            event_id=event.id if event else None,
            at=event.at if event else None,
            unknown_because=None if event else because,
        )


def ask(deployment: Deployment, instance: str, questions: Sequence[Question]) -> list[WhoView]:
    """Ask CloudTrail; returns a view for each question. It never fails: without an answer it says why."""
    because = _look_up(deployment, instance, questions) if questions else ""
    return [question.view(because) for question in questions]


def _look_up(deployment: Deployment, instance: str, questions: Sequence[Question]) -> str:
    """Look for the answers. Returns why those that weren't found are unknown."""
    with deployment.progress(None, "events of CloudTrail looked through") as progress:
        try:
            history = EventHistory(deployment)
            for event in progress.over(_events(history, instance, questions)):
                for each in questions:
                    each.consider(event)
        except AwsRefusalError as error:
            return no_answer(deployment, error)
    if history.cut:
        return f"not among the {history.looked_at:,} events that were looked through, and there are more"
    why = "older than 90 days, not there yet (up to 15 minutes late), or another Region's"
    return f"not in CloudTrail's event history of {deployment.settings.region}: {why}"


def _events(history: EventHistory, instance: str, questions: Sequence[Question]) -> Iterator[Event]:
    """The events of the instance in the time of each question; then, of what is still open, calls by their names.

    An instance with a role has an event for each of its sessions, some a day: so each time is looked at separately.
    """
    for window in dict.fromkeys(each.window for each in questions):
        asked = [each for each in questions if each.window == window]
        yield from _until_answered(history.lookup("ResourceName", instance, *window), asked, instance)
    for each in questions:
        for name in each.calls:
            yield from _until_answered(history.lookup("EventName", name, *each.window), [each], instance)


def _until_answered(events: Iterable[Event], asked: Sequence[Question], instance: str) -> Iterator[Event]:
    """Events while a question is open, back to the instance's launch: nothing is older."""
    if all(each.event for each in asked):
        return
    for event in events:
        yield event
        if event.launched(instance) or all(each.event for each in asked):
            return


def about_now(observed: Observation, entries: Sequence[EntryView]) -> list[Question]:
    """Who set or removed the tag that decides, attached a role that isn't Rolekeeper's, or reverted one that is."""
    id_, association = observed.key.id, observed.association
    tags = dict(observed.instance.tags) if observed.instance else {}
    asked = [
        _about_tag(id_, key, tags.get(key), window=_tag_window(entries, key, tags.get(key)))
        for key in _deciding(observed, tags, entries)
    ]
    ours = {each.answer.association_id for each in entries}
    present = association.id if association and association.state in STANDS else ""
    if association and present and not observed.grant and present not in ours:
        asked.append(_attached(id_, present, association.profile_arn, entries=entries))
    last = next((each for each in entries if each.answer.association_id), None)
    if last and (made := _made(last)) and made != present:
        gone = [each for each in entries[: entries.index(last)] if _seen(each) != made]
        asked.append(_ended(made, "reverted", (_since(last), _until(gone[-1]) if gone else None)))
    return asked


def about_entry(entry: EntryView, older: EntryView | None) -> list[Question]:
    """Who changed the tags and the role that an entry of the history saw, since the one before it."""
    since, until = _since(older) if older else None, _until(entry)
    tags, former = entry.seen.tags, older.seen.tags if older else {}
    asked = [
        # That an entry lacks a tag may mean that no mapping read it then.
        _about_tag(entry.instance, key, tags.get(key), window=(since if key in former else None, until))
        for key in sorted({*tags, *former})
        if tags.get(key) != former.get(key)
    ]
    stood = (_made(older) if older.answer.association_id else _seen(older)) if older else ""
    present = _seen(entry)
    if stood and stood != present:
        what = "reverted" if older and _made(older) else "detached"
        asked.append(_ended(stood, what, (since, until)))
    if present and stood != present:
        saw = [entry, older] if older else [entry]
        asked.append(_attached(entry.instance, present, entry.seen.profile_arn or "", entries=saw))
    return asked


def _deciding(observed: Observation, tags: Mapping[str, str], entries: Sequence[EntryView]) -> list[str]:
    """The keys of the tags that decide; if no mapping matches the instance any longer, of the tag that was removed."""
    candidates, pin = observed.candidates, observed.pin
    if pin and not pin.expired(observed.asked_at):
        return []
    if candidates.exclusion:
        return [IGNORE_TAG]
    if candidates.best:
        return sorted({each.key.tag_key for each in candidates.best})
    if observed.grant and not observed.grant.mapping.pins:
        key = observed.grant.mapping
        return [] if key.matches(tags) else [key.tag_key]
    if not entries:
        return []
    last = entries[0].mapping or ""
    read = {pair for each in entries for pair in each.seen.tags.items()}
    return sorted(
        {key for key, value in read if last in _mappings(key, value) and last not in _mappings(key, tags.get(key))}
    )


def _mappings(key: str, value: str | None) -> set[str]:
    """The mappings that a tag can match, as the history names them; none without the tag."""
    return set() if value is None else {str(MappingKey(key, each)) for each in (value, ANY_VALUE)}


def _tag_window(entries: Sequence[EntryView], key: str, value: str | None) -> Window:
    """Between which times a tag got its value: since an entry saw another one, until the first entry saw this one."""
    saw = list(takewhile(lambda each: each.seen.tags.get(key) == value, entries))
    others = [each for each in entries[len(saw) :] if key in each.seen.tags]
    return _since(others[0]) if others else None, _until(saw[-1]) if saw and value is not None else None


def _about_tag(instance: str, key: str, value: str | None, *, window: Window) -> Question:
    if value is None:
        return Question("untagged", key, lambda event: event.removes(instance, key), window=window)
    return Question("tagged", f"{key}={value}", lambda event: event.sets(instance, key, value), window=window)


def _attached(instance: str, association: str, profile_arn: str, entries: Sequence[EntryView]) -> Question:
    """By whom; the entries before and after narrow down when. A launch counts where none saw another association."""
    saw = [each for each in entries if _seen(each) == association]
    others = [each for each in entries if each not in saw]
    # Newest first, as the history has them: the oldest that saw it, and what is older.
    before = others if not saw else [each for each in others if each.at < saw[-1].at]

    def did(event: Event) -> bool:
        return event.makes(association) or (not others and event.launches_with(instance, profile_arn))

    window = _since(before[0]) if before else None, _until(saw[-1]) if saw else None
    name = str(profile_name(profile_arn))
    return Question("attached", name, did, window=window, calls=(ASSOCIATE, REPLACE))


def _ended(association: str, what: str, window: Window) -> Question:
    calls = (REPLACE, DISASSOCIATE)
    return Question(what, association, lambda event: event.ends(association), window=window, calls=calls)


def _made(entry: EntryView) -> str:
    """The association that Rolekeeper made by an entry; empty for none."""
    return entry.answer.association_id or "" if entry.answer.state in STANDS else ""


def _seen(entry: EntryView) -> str:
    """The association that an entry saw; empty for none, or one that was going."""
    return entry.seen.association_id or "" if entry.seen.association_state in STANDS else ""


def _since(entry: EntryView) -> datetime:
    return datetime.fromisoformat(f"{entry.at[:19]}+00:00") - _SLACK


def _until(entry: EntryView) -> datetime:
    return datetime.fromisoformat(f"{entry.at[:19]}+00:00") + _SLACK
