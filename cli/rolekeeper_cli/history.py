"""An instance's history: every change, wait and hold, with what woke Rolekeeper and what AWS answered."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rolekeeper.model.instance import InstanceKey
from rolekeeper.storage import layout
from rolekeeper.storage.layout import STARTED
from rolekeeper_cli import output, render, tables
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.errors import CommandError, ExitCode
from rolekeeper_cli.instances import ID, find_instance
from rolekeeper_cli.tables import Column, Layout
from rolekeeper_cli.views import who
from rolekeeper_cli.views.looking import profile_name

_CONTROL = ("from", "to", "in-effect", "claimed-by", "claimed-reason", "correlation-id")


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
        documents = [entry_document(key.id, each) for each in entries]
        more = len(entries) == limit
        render.show_list(LAYOUT, documents, empty=str, total=lambda: _more(limit) if more else "")
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
    documents = [{name.replace("-", "_"): entry[name] for name in ("at", *_CONTROL)} for entry in entries]
    render.show_list(_CONTROL_LAYOUT, documents, empty=str)
    return ExitCode.DONE


def _with_who(
    deployment: Deployment, key: InstanceKey, entries: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    asked = [who.about_entry(key.id, entry, older) for entry, older in pairwise((*entries, None)) if entry]
    answers = iter(who.ask(deployment, key.id, [each for some in asked for each in some]))
    for entry, some in zip(entries, asked, strict=True):
        yield {**entry_document(key.id, entry), "who": [next(answers).document() for _ in some]}


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


def entry_document(instance: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A history entry, or a decision's line of the log, for programs: both have the same fields."""
    decision = entry["decision"]
    return {
        "at": entry["at"],
        "instance": instance,
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


def at(document: Mapping[str, Any]) -> str:
    """When it was, to the second, for people."""
    return f"{document['at'][:19]}Z"


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


def _more(limit: int) -> str:
    return f"The newest {limit:,}; more, if there are any, with --limit."


LAYOUT = Layout(
    (
        Column("at", at),
        Column("decided", lambda each: f"{each['action']} ({each['code']})", folds=True),
        Column("from", lambda each: each["from"] or "none", folds=True, wide=True),
        Column("to", lambda each: each["to"] or "none", folds=True, wide=True),
        Column("role", folds=True),
        Column("mapping"),
        Column("revision", wide=True),
        Column("answer", lambda each: answered(each["answer"], each["outcome"]), wide=True),
        Column("correlation id", wide=True),
    ),
    note=why,
    note_name="why",
)
_CONTROL_LAYOUT = Layout(
    (
        Column("at", at),
        Column("from", folds=True),
        Column("to", folds=True),
        Column("in effect", folds=True),
        Column("claimed by", folds=True),
        Column("correlation id", wide=True),
    ),
    note=lambda each: each["claimed_reason"],
    note_name="claimed reason",
)
