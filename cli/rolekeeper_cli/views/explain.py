"""Why an instance carries what it carries, and what it should carry: read, decided and told as the functions do it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekeeper.instances.observe import Unreadable, observe
from rolekeeper.model.instance import Association, Condition
from rolekeeper.model.mapping import Pin, PublishedMapping
from rolekeeper.storage import layout
from rolekeeper.storage.layout import REFUSED
from rolekeeper.telemetry import described
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.instances import find_instance, located, name_of, where
from rolekeeper_cli.views import undo, who
from rolekeeper_cli.views.history import entry_document
from rolekeeper_cli.views.looking import Enforced, Seen, profile_name, withheld

# How far back the last take-over is looked for, in history entries.
_LOOKED_THROUGH = 100


@dataclass(frozen=True, slots=True)
class Explanation:
    """An instance explained: the document, and how to undo the last change."""

    document: dict[str, Any]
    undo: Sequence[undo.Step]


def explained(deployment: Deployment, text: str, *, ask_who: bool) -> dict[str, Any]:
    """The document of `explanation`."""
    return explanation(deployment, text, ask_who=ask_who).document


def explanation(deployment: Deployment, text: str, *, ask_who: bool) -> Explanation:
    """The instance that a text names, explained; who did what, only if that is asked for.

    Raises:
        CommandError: there is no such instance.
        CorruptItemError: an item of the state table isn't what Rolekeeper wrote: it decides nothing for the instance.
    """
    deployment, text = located(deployment, text)
    key = find_instance(deployment, text).key
    observed = observe([key], deployment.app.ec2, Enforced.of(deployment), now=deployment.now())[key]
    if isinstance(observed, Unreadable):
        raise observed.error
    seen = Seen.of(observed, deployment)
    entries = deployment.app.store.history(layout.instance_pk(key), _LOOKED_THROUGH)
    answers = who.ask(deployment, key.id, who.about_now(observed, entries)) if ask_who else []
    before = undo.former(seen, entries)
    steps = list(undo.steps(deployment, seen, before)) if before else []
    document = {
        **where(key),
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
        "last": entry_document(key, entries[0]) if entries else None,
        "former": before.document() if before else None,
        "undo": [each.document() for each in steps],
    }
    return Explanation(document, steps)


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
