"""How a view names its instance."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceNameView:
    """An instance by its id and target."""

    instance: Annotated[str, "the instance's id"]
    account: Annotated[str, "its account"]
    region: Annotated[str, "its Region"]
