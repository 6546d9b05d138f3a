"""Why an instance carries what it carries, and what it should carry: read, decided and told as the functions do it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rolekeeper.instances.observe import Unreadable, observe
from rolekeeper.model.instance import Association, Condition
from rolekeeper.model.mapping import Pin, PublishedMapping
from rolekeeper.storage import layout
from rolekeeper.storage.layout import REFUSED
from rolekeeper.telemetry import described
from rolekeeper_cli import render, tables
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import ExitCode
from rolekeeper_cli.history import answered, entry_document
from rolekeeper_cli.instances import find_instance, name_of, title
from rolekeeper_cli.views import undo, who
from rolekeeper_cli.views.looking import Enforced, Seen, profile_name, withheld

# How far back the last take-over is looked for, in history entries.
_LOOKED_THROUGH = 100


def explain(deployment: Deployment, text: str, *, ask_who: bool) -> ExitCode:
    """Explain the instance that a text names; who did what, only if that is asked for.

    Raises:
        CorruptItemError: an item of the state table isn't what Rolekeeper wrote: it decides nothing for the instance.
    """
    key = find_instance(deployment.app.ec2, text).key
    observed = observe(
        [key], deployment.app.ec2, Enforced(deployment.app.store, deployment.app.state.check_pin), deployment.now()
    )[key]
    if isinstance(observed, Unreadable):
        raise observed.error
    seen = Seen.of(observed, deployment)
    entries = deployment.app.store.history(layout.instance_pk(key), _LOOKED_THROUGH)
    answers = who.ask(deployment, key.id, who.about_now(observed, entries)) if ask_who else []
    before = undo.former(seen, entries)
    document = {
        "instance": key.id,
        "name": name_of(seen.instance),
        "state": seen.instance.state.value,
        "carries": _carried(seen, observed.association),
        "should_carry": profile_name(seen.should_carry),
        "decision": described(seen.decision),
        "withheld": withheld(deployment),
        "mapping": _mapping(observed.candidates.winner),
        "losers": [{"mapping": str(each.mapping), "why": each.why} for each in seen.decision.overridden],
        "pin": _pin(observed.pin),
        "condition": _condition(observed.record.condition),
        "took_over_from": _former(entries, seen),
        "who": [each.document() for each in answers],
        "last": entry_document(key.id, entries[0]) if entries else None,
        "former": before.document() if before else None,
        "undo": [asdict(each) for each in undo.steps(deployment, seen, before)] if before else [],
    }
    render.show(document, lambda: tables.show_table(("", ""), _lines(seen, document, key.account)))
    return ExitCode.DONE


# ---- for programs ----


def _carried(seen: Seen, association: Association | None) -> dict[str, Any] | None:
    if association is None:
        return None
    grant = seen.observed.grant
    return {
        "instance_profile": profile_name(association.profile_arn),
        "profile_arn": association.profile_arn,
        "association": association.id,
        "state": association.state.value,
        "managed": seen.managed,
        "for": str(grant.mapping) if grant else None,
        "revision": grant.revision if grant else None,
    }


def _mapping(winner: PublishedMapping | None) -> dict[str, Any] | None:
    if winner is None or winner.key.pins:
        return None
    return {
        "mapping": str(winner.key),
        "revision": winner.revision,
        "role": winner.spec.role,
        "priority": winner.spec.priority,
        "owner": winner.spec.owner,
        "description": winner.spec.description,
    }


def _pin(pin: Pin | None) -> dict[str, Any] | None:
    if pin is None:
        return None
    claims = {"claimed_by": pin.by, "claimed_reason": pin.reason}
    return {"role": pin.role, "expires_at": pin.expires_at, **claims, "unclear": pin.unclear}


def _condition(shown: Condition | None) -> dict[str, Any] | None:
    if shown is None:
        return None
    return {
        "action": shown.action.value,
        "code": shown.code,
        "reason": shown.reason,
        "since": shown.since,
        "parked": shown.parked,
    }


def _former(entries: Iterable[Mapping[str, Any]], seen: Seen) -> dict[str, str] | None:
    """The foreign role that the last take-over replaced or detached, as long as Rolekeeper's choice stands."""
    if seen.carries and not seen.managed:
        return None
    for entry in entries:
        if entry["decision"].get("takes-over") and entry.get("outcome") != REFUSED:
            return {"profile_arn": entry["seen"]["profile-arn"], "at": entry["at"]}
    return None


# ---- for people ----


def _lines(seen: Seen, document: Mapping[str, Any], account: str) -> Iterator[tuple[str, str]]:
    decision, mapping, last = document["decision"], document["mapping"], document["last"]
    yield "instance", f"{title(seen.instance)}, {document['state']}"
    yield "carries", _carried_in_words(document["carries"])
    yield "should carry", document["should_carry"] or "no role"
    yield "because", f"{decision['reason']} ({decision['action']}, {decision['code']})"
    if document["withheld"]:
        yield "withheld", f"{document['withheld']}: nothing is changed now"
    if mapping:
        owner = f", owned by {mapping['owner']}" if mapping["owner"] else ""
        yield "mapping", f"{mapping['mapping']}, revision {mapping['revision']}, priority {mapping['priority']}{owner}"
    for each in document["losers"]:
        yield "and not", f"{each['mapping']}: {each['why']}"
    if pin := document["pin"]:
        until = f" until {pin['expires_at']:%Y-%m-%dT%H:%M:%SZ}" if pin["expires_at"] else ""
        why = f": {pin['claimed_reason']}" if pin["claimed_reason"] else ""
        yield "pin", f"{pin['role'] or pin['unclear']}{until}, claimed by {pin['claimed_by'] or 'nobody'}{why}"
        yield "", f"rolekeeper release {document['instance']} gives it back to its tags"
    if shown := document["condition"]:
        parked = ", parked" if shown["parked"] else ""
        # A reason can be long: it is told once.
        reason = "that" if shown["reason"] == decision["reason"] else shown["reason"]
        yield "shows", f"{reason} (since {shown['since']:%Y-%m-%dT%H:%M:%SZ}{parked})"
    if former := document["took_over_from"]:
        yield "took over from", f"{former['profile_arn']} ({former['at'][:19]}Z)"
    yield from who.lines(document["who"], account)
    if last:
        yield "last woken by", f"{last['cause']} ({last['at'][:19]}Z)"
        reason = "for that reason" if last["reason"] == decision["reason"] else last["reason"]
        yield "it decided", f"{last['action']} ({last['code']}): {reason}"
        yield "AWS answered", answered(last["answer"], last["outcome"]) or "nothing: it wasn't asked"
    yield from _undo_lines(document["former"], document["undo"])


def _undo_lines(former: Mapping[str, Any] | None, steps: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    if former is None:
        yield "to undo", "nothing: Rolekeeper's history has no change that made it so"
        return
    if former["until"]:
        yield "before that", f"{former['profile_arn'] or 'no role'} (until {former['until'][:19]}Z)"
    for at, each in enumerate(steps):
        yield "" if at else "to undo", f"{each['command']}  ({each['does']})"
    if not steps:
        yield "to undo", f"no step brings back {former['instance_profile'] or 'no role'}"


def _carried_in_words(carried: Mapping[str, Any] | None) -> str:
    if carried is None:
        return "no role"
    if carried["for"]:
        by = f"attached by Rolekeeper for {carried['for']}, revision {carried['revision']}"
    else:
        by = "managed, attached by another actor" if carried["managed"] else "foreign: outside the role path"
    return f"{carried['instance_profile']} ({carried['association']}, {carried['state']}), {by}"
