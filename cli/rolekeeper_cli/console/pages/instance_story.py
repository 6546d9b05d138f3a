"""What an instance's page says and draws, without asking anybody: one answer, its roles over time, its timeline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from string import Formatter
from typing import Any

from rolekeeper.storage.layout import REFUSED
from rolekeeper_cli.uses.fleet import profile_name
from rolekeeper_cli.uses.uptake import Held, Span, Status

type Document = Mapping[str, Any]

# ---- what it carries, and why, in a sentence ----


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a sentence: words, or a value: a `role` (empty for none), a `foreign` one, a mapping, a time."""

    value: str
    kind: str = "words"


_CHANGES = ("Attach", "Replace", "Detach")
# What operators withhold is said above the answer.
_WITHHELD = frozenset({"paused", "observed", "unswept", "control-unclear"})
# By the code of a decision that changes nothing; without one it is the decision's reason.
_ANSWERS = {
    "converged": "{role}{asks}{since}",
    "unmatched": "{role}: its tags match no mapping{since}",
    "not-ours": "{role}: its tags match no mapping",
    "kept": "{role}, kept: {mapping} no longer matches{since}",
    "stopped": "{role}; becomes {wanted} when it is started{asks}",
    "changing": "{role}; becomes {wanted} once it is running or stopped{asks}",
    "associating": "{role} is being attached{asks}",
    "disassociating": "{role} is being detached",
    "occupied": "{role}: {mapping} asks for {wish} and leaves it",
    "contested": "{role}; another actor keeps reverting {wish}{asks}",
    "tie": "{role}: its mappings conflict",
    "suspended": "{role}: {mapping} can't be used",
    "mapping-missing": "{role}: the record of {mapping} is missing",
    "unexplained": "{role}: no mapping gives it, and Rolekeeper didn't attach it",
    "pin-unclear": "{role}: its pin can't be read",
    "ignore-unclear": "{role}: its tag to ignore it can't be read",
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
    return list(_filled(says.replace("{asks}", asks).replace("{since}", since[0]), values))


def reason(shown: Document) -> str:
    """What the answer doesn't say: why an instance is blocked, or why its change isn't made; empty for nothing."""
    decision, condition = shown["decision"], shown["condition"]
    if decision["action"] in _CHANGES and condition and condition["code"] not in _WITHHELD:
        return str(condition["reason"])
    return str(decision["reason"]) if decision["action"] == "Hold" else ""


def _filled(text: str, values: Mapping[str, Part]) -> Iterator[Part]:
    for words, name, _, _ in Formatter().parse(text):
        yield from [Part(words)] if words else []
        yield from [values[name]] if name else []


def _since(carries: Document | None, entries: Sequence[Document]) -> tuple[str, str]:
    """Since when and by whom: only an entry of this very association, or a detach that nothing followed, says that."""
    for each in entries:
        made = each["action"] in _CHANGES and each["outcome"] != REFUSED
        if made and each["action"] == "Detach" and not carries:
            return ", since {at}; detached by Rolekeeper", each["at"]
        if made and carries and each["answer"].get("association_id") == carries["association"]:
            return ", since {at}; attached by Rolekeeper", each["at"]
        if not carries and (made or each["seen"]["profile_arn"]):
            break
    return (f"; attached by {'Rolekeeper' if carries['for'] else 'another actor'}" if carries else "", "")


# ---- its timeline ----


def grouped(entries: Sequence[Document]) -> list[list[Document]]:
    """The entries, those of the same kind that follow each other together."""
    kind = ("action", "code", "outcome", "from", "to", "mapping", "revision")
    return [list(same) for _, same in groupby(entries, lambda each: [each[name] for name in kind])]


# ---- its roles on a line of time ----


# What of the past can be asked for.
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
PASTS = {"1h": _HOUR, "6h": 6 * _HOUR, "24h": _DAY, "7d": 7 * _DAY, "30d": 30 * _DAY}
# What is shown before the oldest change, if nothing is asked for: where a bar begins can be seen.
_BEFORE = timedelta(minutes=15)
# How far apart the times on the axis are: the first step of which at most that many fit.
_STEPS = [*(timedelta(minutes=each) for each in (5, 15, 30, 60, 120, 240, 360)), _DAY, 2 * _DAY, 5 * _DAY]
_HOURS = 7
# In percent: there the text of an hour would be cut off.
_EDGE = 6


@dataclass(frozen=True, slots=True)
class Drawn:
    """A bar from a time `until` another, or a mark without an end.

    Kinds of bars are ours (Rolekeeper attached it), others (another actor did), and valid (credentials of a former role
    may be); of marks attached, delivered, first, last and still (a former role's last call).
    """

    kind: str
    since: datetime
    until: datetime | None = None
    mapping: str = ""


def lane(
    spans: Sequence[Span], roles: Sequence[Held], now: datetime, *, past: str = "", entries: Sequence[Document] = ()
) -> Document:
    """What an instance carried by its history, with what CloudTrail says of its roles, if it was asked.

    Places are in percent of the width: bars have `x` and `width`, marks and `hours` an `x`. Without a known `past` it
    begins before the oldest change of the last 24 hours.
    """
    length = PASTS.get(past, _DAY)
    known = _known(spans, roles)
    changes = [at for each in known for at in (each.since, each.until) if at and now - length < at]
    begin = now - length if past in PASTS else min(changes, default=now - length) - _BEFORE
    ends = [at for each in roles if not each.carried and (at := _valid_until(each))]
    end = max([now, *(min(at, now + length) for at in ends)])

    def place(at: datetime) -> float:
        return round(100 * min(max((at - begin) / (end - begin), 0), 1), 2)

    rows: dict[str, dict[str, Any]] = {}
    for span, drawn in _drawn(known, roles, begin, now=now, entries=entries):
        held = _held(span, roles)
        name = (held.role if held else "") or profile_name(span.profile_arn) or ""
        row = rows.pop(name, {"role": name, "bars": [], "marks": []})
        # The order is that of their last times.
        rows[name] = row | {"carried": span.carried}
        if drawn.until is None and drawn.since >= begin:
            row["marks"].append({"drawn": drawn, "x": place(drawn.since)})
        elif drawn.until and drawn.until >= begin:
            x = place(drawn.since)
            row["bars"].append({"drawn": drawn, "x": x, "width": max(0, round(place(drawn.until) - x, 2))})
    shown = [each for each in reversed(rows.values()) if each["bars"]]
    kinds = {each["drawn"].kind for row in shown for each in (*row["bars"], *row["marks"])}
    hours = [{"x": place(at), "text": text} for at, text in _hours(begin, end)]
    return {"begin": begin, "end": end, "now": place(now), "rows": shown, "hours": hours, "kinds": kinds, "past": past}


def _known(spans: Sequence[Span], roles: Sequence[Held]) -> list[Span]:
    """The spans, the oldest first, and before them what only CloudTrail knows; what is carried comes last."""
    names = {profile_name(each.profile_arn) for each in spans}
    others = [each for each in reversed(roles) if each.instance_profile not in names]
    more = [
        Span(each.instance_profile or each.role, each.since, until=each.until, carried=each.carried) for each in others
    ]
    return sorted([*more, *spans], key=lambda each: each.carried)


def _held(span: Span, roles: Sequence[Held]) -> Held | None:
    name = profile_name(span.profile_arn)
    return next((each for each in roles if name in (each.instance_profile, each.role)), None)


def _drawn(
    known: Sequence[Span], roles: Sequence[Held], begin: datetime, *, now: datetime, entries: Sequence[Document]
) -> Iterator[tuple[Span, Drawn]]:
    """Two roles are never attached at once: what another actor attached begins when the one before it was gone."""
    changes = {datetime.fromisoformat(each["at"]): each for each in entries}
    last = {each.profile_arn: each for each in known}
    free = begin
    for span in known:
        held = _held(span, roles) if span is last[span.profile_arn] else None
        since = span.since or max(free, span.after or begin)
        free = until = now if span.carried else span.until or _seen_last(span, since, held)
        entry = changes.get(span.since) if span.since else None
        mapping = entry["mapping"] or "" if entry else ""
        yield span, Drawn("ours" if span.since else "others", since, until, mapping=mapping)
        if span.since:
            yield span, Drawn("attached", span.since, mapping=mapping)
        if held:
            for each in _of_cloudtrail(held, until):
                yield span, each


def _seen_last(span: Span, since: datetime, held: Held | None) -> datetime:
    """When a former role was seen last, as it isn't known when it was taken."""
    delivered = held.delivered.at if held and held.delivered else None
    return max(filter(None, (since, span.before_end, delivered)))


def _of_cloudtrail(held: Held, taken: datetime) -> Iterator[Drawn]:
    if not held.carried:
        yield Drawn("valid", taken, _valid_until(held) or taken)
    if held.delivered:
        yield Drawn("delivered", held.delivered.at)
    if held.first_use:
        yield Drawn("first", held.first_use.at)
    if held.last_use and held.last_use != held.first_use:
        yield Drawn("last" if held.carried else "still", held.last_use.at)


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
