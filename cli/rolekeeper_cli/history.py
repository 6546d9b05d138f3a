"""An instance's history: every change, wait and hold, with what woke Rolekeeper and what AWS answered."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rolekeeper.model.instance import InstanceKey
from rolekeeper.storage import layout
from rolekeeper.storage.layout import STARTED
from rolekeeper_cli import output, render, tables, who
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ExitCode
from rolekeeper_cli.fleet import profile_name
from rolekeeper_cli.instances import ID, find_instance

CONTROL_HEAD = ("from", "to", "in-effect", "claimed-by", "claimed-reason", "correlation-id")
HEAD = ("at", "cause", "decided", "role", "mapping", "answer", "reason")


def history(deployment: Deployment, text: str, limit: int, *, ask_who: bool) -> ExitCode:
    """Show the newest entries of an instance; of one that is gone, as long as they are kept, by its id.

    With `ask_who`, each with who changed before it what it saw.

    Raises:
        CommandError: there are none, or no such instance.
    """
    if ID.fullmatch(text):
        key = InstanceKey(deployment.caller.account, str(deployment.session.region_name), text)
    else:
        key = find_instance(deployment.app.ec2, text).key
    entries = deployment.app.store.history(layout.instance_pk(key), limit)
    if not entries:
        # Either a slip in the id, which this says, or Rolekeeper never had anything to do with it.
        find_instance(deployment.app.ec2, text)
        raise CommandError(f"{key.id} has no history", f"see how it stands: rolekeeper explain {key.id}")
    if not ask_who:
        render.show_rows(HEAD, map(entry_document, entries), cells)
        return ExitCode.DONE
    documents = list(_with_who(deployment, key, entries))
    render.show(documents, lambda: tables.show_table(("at", "decided, and who"), _who_rows(documents, key.account)))
    unknown = Counter(each["unknown_because"] for document in documents for each in document["who"])
    for because, count in unknown.items():
        if because:
            output.warn(f"who did {count} of these things is unknown: {because}")
    return ExitCode.DONE


def control_history(deployment: Deployment, limit: int) -> ExitCode:
    """Show the newest writes of the control item.

    Raises:
        CommandError: there are none.
    """
    entries = deployment.app.store.history(layout.CONTROL_REPORTED[0], limit)
    if not entries:
        raise CommandError("the control item was never written", "see the mode: rolekeeper mode")
    documents = [{name.replace("-", "_"): entry[name] for name in ("at", *CONTROL_HEAD)} for entry in entries]
    head = ("at", *(name.replace("-", " ") for name in CONTROL_HEAD))
    render.show_rows(head, documents, lambda each: [f"{each['at'][:19]}Z", *list(each.values())[1:]])
    return ExitCode.DONE


def _with_who(
    deployment: Deployment, key: InstanceKey, entries: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    asked = [who.about_entry(key.id, entry, older) for entry, older in pairwise((*entries, None)) if entry]
    answers = iter(who.ask(deployment, key.id, [each for some in asked for each in some]))
    for entry, some in zip(entries, asked, strict=True):
        yield {**entry_document(entry), "who": [next(answers).document() for _ in some]}


def _who_rows(documents: Iterable[Mapping[str, Any]], account: str) -> Iterator[tuple[str, str]]:
    """Below each entry, who did what it saw: beside the other columns there is no room for that."""
    for each in documents:
        what = [f"{each['action']} ({each['code']})", each["role"] or "", each["mapping"] or ""]
        yield f"{each['at'][:19]}Z", "  ".join(filter(None, what))
        for answer in each["who"]:
            if answer["by"]:
                yield "", f"{answer['what']} by {who.in_words(answer, account)}"
            else:
                yield "", f"{answer['what']} {answer['about']} by: unknown"


def entry_document(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry, for programs."""
    return {
        "at": entry["at"],
        **decided(entry),
        "losers": list(entry["decision"]["losers"]),
        "seen": entry["seen"],
        "outcome": entry.get("outcome", ""),
    }


def decided(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a history entry and a line of the log have in common: cause, decision and answer."""
    decision = entry["decision"]
    return {
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
        "correlation_id": entry["correlation_id"],
    }


def cells(document: Mapping[str, Any]) -> list[object]:
    """One entry as a table's row."""
    return [
        f"{document['at'][:19]}Z",
        document["cause"],
        f"{document['action']} ({document['code']})",
        document["role"],
        document["mapping"],
        answered(document["answer"], document["outcome"]),
        document["reason"],
    ]


def answered(answer: Mapping[str, Any], outcome: str = "") -> str:
    """What AWS answered, in words; empty when it wasn't asked for a change."""
    if "code" in answer:
        return f"{answer['code']}: {answer.get('message', '')}"
    return str(answer.get("association-id", "")) or ("started; the answer is unknown" if outcome == STARTED else "")
