"""What deploying and deleting a stack changes."""

from collections.abc import Sequence
from typing import Annotated

from rolekeeper_cli.shell.view import View


class ResourceChangeView(View):
    action: Annotated[str, "Add, Modify, Remove or Import"]
    resource: Annotated[str, "its name in the template"]
    type: Annotated[str, "its type"]
    replacement: Annotated[str | None, "whether a modified one is replaced: yes, no or maybe"]
    properties: Annotated[Sequence[str], "the properties that change"]


class ParameterChangeView(View):
    parameter: Annotated[str, "its name"]
    value: Annotated[str, "its new value"]
    was: Annotated[str | None, "its value before"]


class DeployedView(View):
    region: Annotated[str | None, "of a spoke, its Region"] = None
    outcome: Annotated[str, "unchanged, shown or deployed"]
    version: Annotated[str, "the command's version"]
    deployed_version: Annotated[str | None, "the version that was deployed"]
    parameters: Annotated[Sequence[ParameterChangeView], "the parameters that change"]
    changes: Annotated[Sequence[ResourceChangeView], "the resources that change"]


class RemovedSpokeView(View):
    region: Annotated[str, "its Region"]
    outcome: Annotated[str, "removed"]
    carrying: Annotated[Sequence[str], "the instances that still carry a managed role"]


class KeptResourceView(View):
    resource: Annotated[str, "its name in the template"]
    name: Annotated[str, "its physical name"]


class DestroyedView(View):
    outcome: Annotated[str, "destroyed"]
    kept: Annotated[Sequence[KeptResourceView], "the resources that are kept"]
    mappings: Annotated[int, "how many rows the mapping table has"]
    exported: Annotated[str | None, "the file that has them"]
    detached: Annotated[int, "how many roles were detached"]
    carrying: Annotated[Sequence[str], "the instances that still carry a managed role"]
