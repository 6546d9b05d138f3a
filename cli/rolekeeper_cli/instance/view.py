"""How a view names its instance, and what concerns an instance or a row and isn't in effect."""

from typing import Annotated

from rolekeeper_cli.shell.view import View


class InstanceNameView(View):
    """An instance by its id and target."""

    instance: Annotated[str, "the instance's id"]
    account: Annotated[str, "its account"]
    region: Annotated[str, "its Region"]
