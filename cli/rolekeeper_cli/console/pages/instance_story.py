"""What an instance's page says and draws, without asking anybody: one answer, its roles over time, its timeline."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from string import Formatter
from typing import Any

from rolekeeper.storage.layout import REFUSED
from rolekeeper_cli.uses.fleet import profile_name
from rolekeeper_cli.uses.history import Span
from rolekeeper_cli.uses.uptake import Held, Status

type Document = Mapping[str, Any]

# ---- what it carries, and why, in a sentence ----


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a sentence: words, or a value: a `role` (empty for none), a `foreign` one, a mapping, a time."""

    value: str
    kind: str = "words"


_CHANGES = ("Attach", "Replace", "Detach")
# By the code of a decision that changes nothing; without one its reason says it.
_ANSWERS = {
    "converged": "{role}{asks}{since}",
    "unmatched": "{role}: its tags match no mapping",
    "not-ours": "{role}: its tags match no mapping",
    "kept": "{role}, kept: {mapping} no longer matches{since}",
    "stopped": "{role}; becomes {wanted} when it is started{asks}",
    "changing": "{role}; becomes {wanted} once it is running or stopped{asks}",
    "associating": "{role} is being attached{asks}",
    "disassociating": "{role} is being detached",
    "occupied": "{role}: {mapping} asks for {wish} and leaves it",
    "contested": "{role}; another actor keeps reverting Rolekeeper's change to it",
}


def answer(shown: Document, entries: Sequence[Document]) -> list[Part]:
    """What an instance carries or will carry, why, and since when, by its explanation and its history."""
    decision, carries, should_carry = shown["decision"], shown["carries"], shown["should_carry"] or ""
    code, mapping, pin = decision["code"], decision["mapping"] or "", shown["pin"]
    name = carries["instance_profile"] if carries else ""
    asks = ", as {mapping} asks" if mapping else ""
    if pin and not pin["unclear"]:
        asks = ", pinned until {until}" if pin["expires_at"] else ", pinned until it is released"
    says, since = _ANSWERS.get(code, "{role}: {reason}"), _since(carries, entries)
    if decision["action"] in _CHANGES:
        over = "{mapping} no longer matches" if "=" in mapping else "its pin is over"
        says = "{role}; becomes {wanted}" + (f": {over}" if code == "unmatched" else "{asks}")
    elif code == "changing" and name == should_carry:
        says = "{role}: {reason}"
    values = {
        "role": Part(name, "foreign" if carries and not carries["managed"] else "role"),
        "wanted": Part(should_carry, "role"),
        "wish": Part("" if decision["role"] == "NONE" else decision["role"], "role"),
        "mapping": Part(mapping, "mapping"),
        "until": Part(str(pin["expires_at"]) if pin else "", "time"),
        "at": Part(since[1], "time"),
        "reason": Part(decision["reason"]),
    }
    pieces = Formatter().parse(says.replace("{asks}", asks).replace("{since}", since[0]))
    found = [each for words, name, _, _ in pieces for each in (Part(words), values.get(name or ""))]
    return [each for each in found if each and (each.value or each.kind == "role")]


def _since(carries: Document | None, entries: Sequence[Document]) -> tuple[str, str]:
    """By whom, and since when: only an entry of this very association says that."""
    if carries is None:
        return "", ""
    for each in entries:
        if each["answer"].get("association_id") == carries["association"] and each["outcome"] != REFUSED:
            within = f" within {each['seconds']} s" if each["seconds"] else ""
            return f", since {{at}}; attached by Rolekeeper{within}", each["at"]
    return f"; attached by {'Rolekeeper' if carries['for'] else 'another actor'}", ""


# ---- its timeline ----


def grouped(entries: Sequence[Document]) -> list[list[Document]]:
    """The entries, those of the same kind that follow each other together."""
    kind = ("action", "code", "outcome", "from", "to", "mapping", "revision")
    return [list(same) for _, same in groupby(entries, lambda each: [each[name] for name in kind])]


# ---- its roles on a line of time ----


# What of the past can be asked for.
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_PASTS = {"1h": _HOUR, "6h": 6 * _HOUR, "24h": _DAY, "7d": 7 * _DAY, "30d": 30 * _DAY}
# What is shown before the oldest change, if nothing is asked for: where a bar begins can be seen.
_BEFORE = timedelta(minutes=15)
# How far apart the times on the axis are: the first step of which at most that many fit.
_STEPS = [*(timedelta(minutes=each) for each in (5, 15, 30, 60, 120, 240, 360)), _DAY, 2 * _DAY, 5 * _DAY]
_HOURS = 7
# In percent: there the text of an hour would be cut off.
_EDGE = 6


@dataclass(frozen=True, slots=True)
class Drawn:
    """A bar until a time, or a mark without one, of a `kind` that `instance.html` names."""

    role: str
    kind: str
    since: datetime
    until: datetime | None = None
    mapping: str = ""


def lane(spans: Sequence[Span], roles: Sequence[Held], now: datetime, *, past: str = "") -> Document:
    """What an instance carried by its history, with what CloudTrail says of its roles, if it was asked.

    Places are in percent of the width. Without a known `past` it begins before the oldest change of the last 24 hours.
    """
    length, known = _PASTS.get(past, _DAY), _known(spans, roles)
    changes = [at for span, _ in known for at in (span.since, span.until) if at and now - length < at]
    begin = now - length if past in _PASTS else min(changes, default=now - length) - _BEFORE
    end = max([now, *(min(at, now + length) for each in roles if not each.carried and (at := _valid_until(each)))])

    def place(at: datetime) -> float:
        return round(100 * min(max((at - begin) / (end - begin), 0), 1), 2)

    carried = {profile_name(span.profile_arn) for span, _ in known if span.carried}
    rows: dict[str, dict[str, Any]] = {}
    for each in _drawn(known, begin, now):
        if (each.until or each.since) >= begin:
            # The order is that of their last times.
            new = {"role": each.role, "carried": each.role in carried, "bars": [], "marks": []}
            row = rows[each.role] = rows.pop(each.role, new)
            x, width = place(each.since), round(place(each.until or each.since) - place(each.since), 2)
            row["bars" if each.until else "marks"].append({"drawn": each, "x": x, "width": max(0, width)})
    shown = [row for row in reversed(rows.values()) if row["bars"]]
    kinds = {each["drawn"].kind for row in shown for each in (*row["bars"], *row["marks"])}
    hours = [{"x": place(at), "text": text} for at, text in _hours(begin, end)]
    return {"begin": begin, "end": end, "now": place(now), "rows": shown, "hours": hours, "kinds": kinds, "past": past}


def _known(spans: Sequence[Span], roles: Sequence[Held]) -> list[tuple[Span, Held | None]]:
    """The spans, each role's last one with what CloudTrail says, after what only it knows; the carried one last."""
    held = {each.instance_profile or each.role: each for each in roles}
    known = [(each, held.pop(profile_name(each.profile_arn) or "", None)) for each in reversed(spans)]
    known += [(Span(name, each.since, until=each.until, carried=each.carried), each) for name, each in held.items()]
    known.reverse()
    return sorted(known, key=lambda each: each[0].carried)


def _drawn(known: Iterable[tuple[Span, Held | None]], begin: datetime, now: datetime) -> Iterator[Drawn]:
    """Two roles are never attached at once: what another actor attached begins when the one before it was gone."""
    free = begin
    for span, held in known:
        draw = partial(Drawn, profile_name(span.profile_arn) or "", mapping=span.mapping)
        since = span.since or max(free, span.after or begin)
        # Of a former role it may not be known when it was taken, but when it was seen last.
        seen = [since, span.before_end, held.delivered.at if held and held.delivered else None]
        free = until = now if span.carried else span.until or max(filter(None, seen))
        yield draw("ours" if span.since else "others", since, until)
        if span.since:
            yield draw("attached", since)
        if held and not held.carried:
            yield draw("valid", until, _valid_until(held) or until)
        if held:
            last = held.last_use if held.last_use != held.first_use else None
            marks = {"delivered": held.delivered, "first": held.first_use, "last" if held.carried else "still": last}
            yield from (draw(kind, each.at) for kind, each in marks.items() if each)


def _valid_until(held: Held) -> datetime | None:
    """Until when credentials of a former role can be used: a policy may deny what is valid."""
    return held.denied_before if held.status is Status.CUT_OFF else held.valid_until


def _hours(begin: datetime, end: datetime) -> Iterator[tuple[datetime, str]]:
    """The times that are written below: full hours, or what is between them, or days."""
    step = next((each for each in _STEPS if (end - begin) / each <= _HOURS), _STEPS[-1])
    edge = (end - begin) * _EDGE / 100
    at = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    at += step * -((begin + edge - at) // -step)
    while at <= end - edge:
        yield at, f"{at:%H:%M}" if step < _DAY else f"{at:%b} {at.day}"
        at += step
