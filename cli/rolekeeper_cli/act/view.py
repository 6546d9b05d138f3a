"""Pins of instances."""

from datetime import datetime
from typing import Annotated

from rolekeeper_cli.instance.view import InstanceNameView


class PinnedView(InstanceNameView):
    role: Annotated[str, "the role; NONE for none"]
    profile_arn: Annotated[str, "its instance profile"]
    expires_at: Annotated[datetime | None, "when it ends; null for not until it is released"]
    by: Annotated[str, "who wrote it"]
    reason: Annotated[str, "why"]


class ReleasedView(InstanceNameView):
    released: Annotated[str | None, "the role of its pin; null if it had none"]
    contested: Annotated[bool, "whether another actor kept reverting Rolekeeper's change to it"]
