"""AWS Organizations, as any account may ask it."""

from collections.abc import Iterator
from typing import Any

from fakes.ec2 import client_error


class Organizations:
    """The organization that the account is in; empty: none. `refuses` is the error of who asks, if any.

    `above` has what a unit is in, and who isn't to ask for that finds it empty.
    `accounts` are its accounts as ListAccounts has them, one to a page after an empty one, as some are (its note).
    """

    def __init__(self) -> None:
        self.id = "o-example0000"
        self.refuses = ""
        self.above: dict[str, str] = {}
        self.accounts: list[dict[str, str]] = []

    def describe_organization(self) -> dict[str, Any]:
        if refused := self.refuses or ("" if self.id else "AWSOrganizationsNotInUseException"):
            raise client_error(refused, "no")
        return {"Organization": {"Id": self.id}}

    def list_parents(self, ChildId: str) -> dict[str, Any]:  # noqa: N803  # boto3's own name
        """What a unit is in, if the caller's account manages the organization."""
        if ChildId not in self.above:
            raise client_error("AccessDeniedException", "You don't have permissions to access this resource.")
        return {"Parents": [{"Id": self.above[ChildId], "Type": "ORGANIZATIONAL_UNIT"}]}

    def get_paginator(self, operation: str) -> "Organizations":
        assert operation == "list_accounts"
        return self

    def paginate(self) -> Iterator[dict[str, Any]]:
        if self.refuses:
            raise client_error(self.refuses, "no")
        yield {"Accounts": []}
        for each in self.accounts:
            yield {"Accounts": [each]}
