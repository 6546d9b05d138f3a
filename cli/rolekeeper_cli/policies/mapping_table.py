"""IAM policies of those who edit mappings, and of those who approve edits: which columns and items each may write.

Each allows what is listed, and denies all other writing, whatever else a person carries: so a person who carries both
can neither edit nor approve. DynamoDB takes for a request's attributes what it sets, removes or names in a condition,
the keys too (DynamoDB developer guide, "Using IAM policy conditions for fine-grained access control").
"""

from collections.abc import Sequence
from typing import Any

from rolekeeper.mappings.rows.columns import ASKS, COLUMNS, KEYS
from rolekeeper_cli.errors import UsageError
from rolekeeper_cli.policies.document import Arns, Statement, policy, statement, writable

# The columns by which a held edit is approved, and the only partition in which the approver can have signed it.
APPROVAL = ("approve", "approved_by")
OWN_APPROVALS = "approval#${aws:userid}"
_KEYS = [column.name for column in KEYS]
EDITORS_COLUMNS = (*_KEYS, *(column.name for column in (*COLUMNS, *ASKS) if column.name not in APPROVAL))
# Either may drop what is held: nothing changes by that.
APPROVERS_COLUMNS = (*_KEYS, *APPROVAL, "discard")

_LOOKS = ("dynamodb:BatchGetItem", "dynamodb:Query")
_PUT, _UPDATE, _DELETE = "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"
# The ways of writing that nobody needs here.
_OTHER_WRITES = tuple(
    f"dynamodb:{name}" for name in ("BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete")
)
# ALL_OLD and ALL_NEW answer with attributes that the request doesn't name (the same page).
_RETURNED = {"StringEqualsIfExists": {"dynamodb:ReturnValues": ["NONE", "UPDATED_OLD", "UPDATED_NEW"]}}

_APPROVAL = " and ".join(APPROVAL)
_BOTH = "A person who carries the policies of both can neither edit nor approve."
ABOUT_EDITORS = (
    f"It denies {_APPROVAL}, what Rolekeeper writes, and the state table, whatever else a person may do.",
    _BOTH,
    "A tool that puts a whole row back, status and all, is refused: leave out what Rolekeeper wrote.",
)
ABOUT_APPROVERS = (
    "It denies all columns but approve, approved_by and discard; deleting; in the state table, all but own approvals.",
    _BOTH,
    "Of a role's session, IAM proves the role and the session's name: have the trust policy fix the name.",
)


def editors_policy(arns: Arns, tag_keys: Sequence[str] = ()) -> dict[str, Any]:
    """The policy of those who edit rows: all, or those of some tag keys. Raises UsageError, as `_leading`."""
    leading = _leading(tag_keys)
    table = [arns.here("dynamodb", f"table/{arns.mapping_table}")]
    return policy(
        [
            *_reading(arns),
            _writing("EditRows", [_PUT, _UPDATE], table, columns=EDITORS_COLUMNS, leading=leading),
            statement("DeleteRows", "Allow", [_DELETE], resources=table, **_tests(leading)),
            *_nothing_else(arns, [_PUT, _UPDATE], _OTHER_WRITES, columns=EDITORS_COLUMNS),
            statement("NotTheStateTable", "Deny", (_PUT, _UPDATE, _DELETE, *_OTHER_WRITES), resources=_state(arns)),
        ]
    )


def approvers_policy(arns: Arns, tag_keys: Sequence[str] = ()) -> dict[str, Any]:
    """The policy of those who approve held edits: all, or those of some tag keys. Raises UsageError, as `_leading`."""
    table, own = [arns.here("dynamodb", f"table/{arns.mapping_table}")], {"dynamodb:LeadingKeys": [OWN_APPROVALS]}
    return policy(
        [
            *_reading(arns),
            statement("SignApprovals", "Allow", [_PUT], resources=_state(arns), **_tests(own)),
            _writing("ApproveEdits", [_UPDATE], table, columns=APPROVERS_COLUMNS, leading=_leading(tag_keys)),
            *_nothing_else(arns, [_UPDATE], (_PUT, _DELETE, *_OTHER_WRITES), columns=APPROVERS_COLUMNS),
            statement(
                "NoOthersApprovals", "Deny", [_PUT], resources=_state(arns), **{"ForAnyValue:StringNotEquals": own}
            ),
            statement("NothingElseInState", "Deny", (_UPDATE, _DELETE, *_OTHER_WRITES), resources=_state(arns)),
        ]
    )


def _leading(tag_keys: Sequence[str]) -> dict[str, list[str]]:
    """The partitions that may be written: of the rows of these tag keys, or none to limit.

    Raises:
        UsageError: a policy can't hold one.
    """
    for each in tag_keys:
        if not writable(each):
            raise UsageError(
                f"no policy can hold the tag key {each!r}",
                "it takes the characters of Latin-1, and no ${; leave it out",
            )
    return {"dynamodb:LeadingKeys": list(tag_keys)} if tag_keys else {}


def _tests(values: dict[str, list[str]]) -> dict[str, Any]:
    """That all of a request's values are among these; where there are none, `ForAllValues` would hold of nothing."""
    if not values:
        return {}
    return {"ForAllValues:StringEquals": values, "Null": dict.fromkeys(values, "false")}


def _reading(arns: Arns) -> list[Statement]:
    """What the command reads: mappings, and their history."""
    table = [arns.here("dynamodb", f"table/{arns.mapping_table}")]
    stack = arns.here("cloudformation", f"stack/{arns.stack}/*")
    return [
        statement("ReadRows", "Allow", ("dynamodb:GetItem", "dynamodb:Scan", *_LOOKS), resources=table),
        statement("ReadHistory", "Allow", _LOOKS, resources=_state(arns)),
        statement("FindTheTables", "Allow", ["cloudformation:DescribeStacks"], resources=[stack]),
    ]


def _writing(
    sid: str, actions: Sequence[str], table: Sequence[str], columns: Sequence[str], leading: dict[str, list[str]]
) -> Statement:
    named = {"dynamodb:Attributes": list(columns), **leading}
    return statement(sid, "Allow", actions, resources=table, **_tests(named), **_RETURNED)


def _nothing_else(arns: Arns, actions: Sequence[str], barred: Sequence[str], columns: Sequence[str]) -> list[Statement]:
    """What no other policy can give back, of the mapping table."""
    table = [arns.here("dynamodb", f"table/{arns.mapping_table}")]
    other = {"ForAnyValue:StringNotEquals": {"dynamodb:Attributes": list(columns)}}
    return [
        statement("NoOtherColumn", "Deny", actions, resources=table, **other),
        statement("NoOtherWay", "Deny", barred, resources=table),
    ]


def _state(arns: Arns) -> list[str]:
    return [arns.here("dynamodb", f"table/{arns.state_table}")]
