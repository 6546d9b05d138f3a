"""`rolekeeper targets`: the accounts and Regions as a table, and below it what they come to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rolekeeper_cli import render
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.tables import Column, Layout
from rolekeeper_cli.views import targets

_COLOURS = {targets.PROBLEM: "red", targets.OVERDUE: "red", targets.NEW: "yellow", targets.UNKNOWN: "yellow"}
_ALONE = (
    "This deployment looks after its own account and Region only. To look after an organization's accounts, deploy it "
    "with --organization-id, then a spoke in each of them: rolekeeper spoke deploy --help"
)
_NONE_YET = "No spoke has reported yet; it does with its first event, or within a day: rolekeeper spoke deploy --help"


def show(deployment: Deployment) -> None:
    """List the targets."""
    documents = targets.documents(deployment)
    render.show_list(LAYOUT, documents, empty=str, total=lambda: _total(deployment, documents))


def _total(deployment: Deployment, documents: Sequence[Mapping[str, Any]]) -> str:
    if not deployment.settings.organization and len(documents) == 1:
        return _ALONE
    states = Counter(each["state"] for each in documents)
    accounts = len({each["account"] for each in documents})
    words = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
    many = f"{len(documents):,} {'target' if len(documents) == 1 else 'targets'}"
    said = f"{many} in {accounts:,} {'account' if accounts == 1 else 'accounts'}: {words}."
    return f"{said} {_NONE_YET}" if len(documents) == 1 else said


def _version(document: Mapping[str, Any]) -> str:
    version, compared = document["version"] or "", document["version_is"]
    return f"{version} ({compared})" if compared in {targets.OLDER, targets.NEWER} else version


def _at(name: str) -> Column:
    def cell(document: Mapping[str, Any]) -> str:
        return f"{document[name]:%Y-%m-%dT%H:%M:%SZ}" if document[name] else ""

    return Column(name.replace("_", " "), cell, wide=name in {"since", "problem_since"})


def _note(document: Mapping[str, Any]) -> str:
    return "" if document["state"] == targets.NEW else document["reason"]


LAYOUT = Layout(
    (
        Column("account"),
        Column("region"),
        Column("state", lambda each: f"{each['state']}{', the hub' if each['hub'] else ''}"),
        Column("version", _version),
        _at("last_event"),
        _at("last_sweep"),
        Column("instances"),
        Column("drift"),
        _at("since"),
        _at("problem_since"),
        Column("unit", wide=True),
    ),
    note=_note,
    colour=lambda each: _COLOURS.get(each["state"], ""),
)
