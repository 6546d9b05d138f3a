"""The mappings: this tag means this role."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnView:
    """A column of the mapping table that a person writes."""

    column: Annotated[str, "its name"]
    means: Annotated[str, "what it means"]
    takes: Annotated[str, "which values"]
    default: Annotated[str | None, "what it means to leave it out"]
    required: Annotated[bool, "whether every row needs it"]
    type: Annotated[str, "DynamoDB's type"]
    written_by: Annotated[str, "who writes it"]
    example: Annotated[str | None, "a command that writes it"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnColumnView:
    """A column that Rolekeeper writes."""

    column: Annotated[str, "its name"]
    means: Annotated[str, "what it means"]
    written_by: Annotated[str, "who writes it"]
