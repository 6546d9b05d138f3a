"""AWS Organizations, as any account may ask it."""

from typing import Any

from fakes.ec2 import client_error


class Organizations:
    """The organization that the account is in; empty: none. `refuses` is the error of who asks, if any."""

    def __init__(self) -> None:
        self.id = "o-example0000"
        self.refuses = ""

    def describe_organization(self) -> dict[str, Any]:
        if refused := self.refuses or ("" if self.id else "AWSOrganizationsNotInUseException"):
            raise client_error(refused, "no")
        return {"Organization": {"Id": self.id}}
