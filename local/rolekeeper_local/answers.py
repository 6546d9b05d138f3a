"""Two answers that ministack gives otherwise than AWS: S3's about an expected owner, and CloudWatch Logs' event ids.

- `x-amz-expected-bucket-owner`: a request that names another account than the bucket's own is refused (S3 user guide,
  "Verifying bucket ownership with bucket owner condition"). ministack reads it nowhere.
- AWS gives each log event an id of its own (CloudWatch Logs API reference, `FilteredLogEvent`); ministack gives none.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from ministack.services import cloudwatch_logs, s3

from rolekeeper_local.corrections import correct
from rolekeeper_local.ec2_wire import Response


def install() -> None:
    correct(_with_owner, "handle_request", s3)
    correct(_with_ids, "_filter_log_events", cloudwatch_logs)


async def _with_owner(
    original: Callable[..., Awaitable[Any]], method: str, path: str, headers: dict[str, str], *rest: Any, **named: Any
) -> Any:
    expected = headers.get("x-amz-expected-bucket-owner")
    bucket, _key = s3._parse_bucket_key(path, headers)
    owner = s3._bucket_owner_account(bucket) if bucket and expected else None
    if owner and owner != expected:
        return s3._error("AccessDenied", "Access Denied", 403, path)
    return await original(method, path, headers, *rest, **named)


def _with_ids(original: Callable[[Any], Response], asked: Any) -> Response:
    """FilterLogEvents' answer with an id for each event: the same one each time."""
    status, headers, body = original(asked)
    document = json.loads(body)
    alike: Counter[str] = Counter()
    for event in document.get("events", ()):
        text = f"{event['logStreamName']} {event['timestamp']} {event['message']}"
        # Two of one text at the same time in one stream are two: the first stays the first.
        event["eventId"] = hashlib.sha256(f"{text} {alike[text]}".encode()).hexdigest()[:56]
        alike[text] += 1
    return status, headers, json.dumps(document).encode()
