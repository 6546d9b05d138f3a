"""What the checks of a deployment find."""

from collections.abc import Sequence
from typing import Annotated

from rolekeeper_cli.shell.view import View


class FindingView(View):
    level: Annotated[str, "ok, warn, fail or unknown"]
    check: Annotated[str, "the check"]
    what: Annotated[str, "what it found"]
    remedy: Annotated[str, "what to do; empty if nothing is to be done"]


class LevelCountsView(View):
    ok: Annotated[int, "that need nothing"]
    warn: Annotated[int, "that should not stay so"]
    fail: Annotated[int, "that keep Rolekeeper from its work"]
    unknown: Annotated[int, "that can't be seen from here"]


class FindingsView(View):
    findings: Annotated[Sequence[FindingView], "the findings"]
    summary: Annotated[LevelCountsView, "their numbers"]
