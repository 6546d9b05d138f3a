"""How a view names its instance, and what concerns an instance or a row and isn't in effect."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceNameView:
    """An instance by its id and target."""

    instance: Annotated[str, "the instance's id"]
    account: Annotated[str, "its account"]
    region: Annotated[str, "its Region"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotInEffectView:
    """Something that concerns an instance or a row and isn't in effect."""

    code: Annotated[str, "what it is, as rejected, held, paused or ignored"]
    mapping: Annotated[str | None, "the mapping"]
    revision: Annotated[int | None, "its revision"]
    in_effect: Annotated[int | None, "the revision that is in effect instead"]
    reason: Annotated[str, "why, in words"]
    brief: Annotated[str, "the same, in short"]
    until: Annotated[datetime | None, "until when"]
