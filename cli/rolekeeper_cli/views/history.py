"""An instance's history: every change, wait and hold, with what woke Rolekeeper and what AWS answered."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.instance import InstanceKey
from rolekeeper.model.problem import Kind, Remedy, advice
from rolekeeper.storage import layout
from rolekeeper.storage.layout import STARTED
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError
from rolekeeper_cli.instances import ID, addressed, find_instance, located, where
from rolekeeper_cli.views import who
from rolekeeper_cli.views.looking import profile_name
from rolekeeper_cli.views.places import why_unseen

_CONTROL = ("from", "to", "in-effect", "claimed-by", "claimed-reason", "correlation-id")


def entries(deployment: Deployment, text: str, limit: int, *, ask_who: bool = False) -> list[dict[str, Any]]:
    """The newest entries of an instance; of one that is gone, as long as they are kept, by its id.

    With `ask_who`, each with who changed before it what it saw.

    Raises:
        CommandError: there are none, or no such instance.
    """
    deployment, text = located(deployment, text)
    if ID.fullmatch(text):
        settings = deployment.settings
        key = InstanceKey(settings.account, settings.region, text)
    else:
        key = find_instance(deployment, text).key
    found = deployment.app.store.history(layout.instance_pk(key), limit)
    if not found:
        # Either a slip in the id, which this says, or Rolekeeper never had anything to do with it.
        try:
            find_instance(deployment, text)
        except AccessDeniedError as error:
            what = f"{key.id} has no history, and whether it is there isn't known: {why_unseen(error).what}"
            raise CommandError(what, advice("see whether the hub may: ", Remedy(Kind.TARGETS))) from error
        how = advice("see how it stands: ", Remedy(Kind.EXPLAIN, (addressed(deployment, key.id),)))
        raise CommandError(f"{key.id} has no history", how)
    if ask_who:
        return list(_with_who(deployment, key, found))
    return [entry_document(key, each) for each in found]


def control_entries(deployment: Deployment, limit: int) -> list[dict[str, Any]]:
    """The newest writes of the control item.

    Raises:
        CommandError: there are none.
    """
    found = control_history(deployment, limit)
    if not found:
        raise CommandError("the control item was never written", advice("see the mode: ", Remedy(Kind.MODE)))
    return found


def control_history(deployment: Deployment, limit: int) -> list[dict[str, Any]]:
    """The same; empty where there are none."""
    found = deployment.app.store.history(layout.CONTROL_REPORTED[0], limit)
    return [{name.replace("-", "_"): entry[name] for name in ("at", *_CONTROL)} for entry in found]


def entry_document(key: InstanceKey, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A history entry, or a decision's line of the log, for programs: both have the same fields."""
    decision = entry["decision"]
    return {
        "at": entry["at"],
        **where(key),
        "cause": entry["cause"],
        "action": decision["action"],
        "code": decision["code"],
        "from": profile_name(entry["seen"]["profile-arn"]),
        "to": profile_name(decision["profile-arn"]),
        "role": decision["role"] or None,
        "mapping": decision["mapping"] or None,
        "revision": int(decision["revision"]),
        "reason": decision["reason"],
        "answer": dict(entry["answer"]),
        "outcome": entry.get("outcome") or None,
        "losers": list(decision["losers"]),
        "seen": entry["seen"],
        "correlation_id": entry["correlation_id"],
    }


def why(document: Mapping[str, Any]) -> str:
    """What woke Rolekeeper, why it decided so, and what of AWS's answer isn't as it should be."""
    parts = [document["cause"], document["reason"]]
    if "code" in document["answer"] or document["outcome"] == STARTED:
        parts.append(f"AWS: {answered(document['answer'], document['outcome'])}")
    return " → ".join(filter(None, parts))


def answered(answer: Mapping[str, Any], outcome: str | None) -> str:
    """What AWS answered, in words; empty when it wasn't asked for a change."""
    if "code" in answer:
        return f"{answer['code']}: {answer.get('message', '')}"
    return str(answer.get("association-id", "")) or ("started; the answer is unknown" if outcome == STARTED else "")


def _with_who(
    deployment: Deployment, key: InstanceKey, entries: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    asked = [who.about_entry(key.id, entry, older) for entry, older in pairwise((*entries, None)) if entry]
    answers = iter(who.ask(deployment, key.id, [each for some in asked for each in some]))
    for entry, some in zip(entries, asked, strict=True):
        yield {**entry_document(key, entry), "who": [next(answers).document() for _ in some]}
