"""The inline policy of a role that denies instances what they got of it before a time."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rolekeeper.aws.iam import Document
from rolekeeper.permissions.policies import listed

#: How long the credentials of an instance's role are valid at most: six hours and some (docs/AWS_FACTS.md, "Credentials
#: on the instance").
LIVES = timedelta(hours=6, minutes=40)
POLICY = "rolekeeper-revoked"
# A statement that is over stays for a while: clocks within AWS differ.
_MARGIN = timedelta(minutes=15)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Entry:
    """One statement: `user`, a `ROLEID:INSTANCE-ID`, may do nothing with what it got `before`, a whole second."""

    user: str
    before: datetime

    @property
    def instance(self) -> str:
        return self.user.partition(":")[2]

    @property
    def statement(self) -> dict[str, Any]:
        times = {"aws:TokenIssueTime": self.before.strftime(_TIME)}
        condition = {"StringEquals": {"aws:userid": self.user}, "DateLessThan": times}
        return {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}

    @classmethod
    def read(cls, statement: Any) -> "Entry | None":
        """None for any other statement: who wrote that meant something else by it."""
        try:
            condition = statement["Condition"]
            before = datetime.strptime(condition["DateLessThan"]["aws:TokenIssueTime"], _TIME).replace(tzinfo=UTC)
            found = cls(str(condition["StringEquals"]["aws:userid"]), before)
        except (KeyError, TypeError, ValueError):
            return None
        return found if found.statement == statement else None

    def is_over(self, now: datetime) -> bool:
        # Not by adding to it: a person may have written the last time that there is.
        return self.before < now - LIVES - _MARGIN


def entries(document: Document) -> list[Entry]:
    return [entry for each in listed(document.get("Statement")) if (entry := Entry.read(each))]


def current(document: Document, now: datetime) -> list[Any]:
    """The statements of a policy without those that are over; what others wrote stays."""
    found = [(each, Entry.read(each)) for each in listed(document.get("Statement"))]
    return [each for each, entry in found if entry is None or not entry.is_over(now)]
