"""What isn't in effect, of an instance and of a row."""

from datetime import datetime
from typing import Annotated

from rolekeeper_cli.shell.view import View


class NotInEffectView(View):
    """Something that concerns an instance or a row and isn't in effect."""

    code: Annotated[str, "what it is, as rejected, held, paused or ignored"]
    mapping: Annotated[str | None, "the mapping"]
    status: Annotated[str | None, "its row's status"]
    revision: Annotated[int | None, "its revision"]
    in_effect: Annotated[int | None, "the revision that is in effect instead"]
    reason: Annotated[str, "why, in words"]
    brief: Annotated[str, "the same, in short"]
    until: Annotated[datetime | None, "until when"]
