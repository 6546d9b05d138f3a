"""What `rolekeeper guard` prints."""

from typing import Annotated

from rolekeeper_cli.shell.view import View


class GuardPartView(View):
    part: Annotated[str, "the command that prints it"]
    is_: Annotated[str, "its kind"]
    for_: Annotated[str, "its purpose"]
