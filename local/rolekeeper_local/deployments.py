"""What a deployment asks of S3 and CloudFormation, and ministack doesn't answer as AWS does.

- `x-amz-expected-bucket-owner`: a request that names another account than the bucket's own is refused (S3 user guide,
  "Verifying bucket ownership with bucket owner condition"). ministack reads it nowhere.
- A stack has its template's description (CloudFormation API reference, `Stack`). ministack forgets it of one that was
  made or updated by a change set.
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

from collections.abc import Awaitable, Callable
from typing import Any

from ministack.services import cloudformation, s3  # type: ignore[import-not-found]
from ministack.services.cloudformation import changesets, handlers  # type: ignore[import-not-found]

_OWNER = "x-amz-expected-bucket-owner"


def install() -> None:
    """Correct this process; call once, before the first request."""
    s3.handle_request = _with_owner(s3.handle_request)
    actions = handlers._ACTION_HANDLERS
    actions["ExecuteChangeSet"] = _with_description(actions["ExecuteChangeSet"])


def _with_owner(handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def handle_request(method: str, path: str, headers: dict[str, str], *rest: Any, **named: Any) -> Any:
        expected = headers.get(_OWNER)
        bucket, _key = s3._parse_bucket_key(path, headers)
        owner = s3._bucket_owner_account(bucket) if bucket and expected else None
        if owner and owner != expected:
            return s3._error("AccessDenied", "Access Denied", 403, path)
        return await handle(method, path, headers, *rest, **named)

    return handle_request


def _with_description(execute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def execute_change_set(params: Any) -> Any:
        name, stack_name = handlers._p(params, "ChangeSetName"), handlers._p(params, "StackName")
        _id, change_set = changesets._find_change_set(name, stack_name)
        answer = execute(params)
        stack = cloudformation._stacks.get(change_set["StackName"]) if change_set else None
        if stack:
            stack["Description"] = change_set["_template"].get("Description", "")
        return answer

    return execute_change_set
