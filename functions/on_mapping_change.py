"""Mapping table stream -> check, publish, fan out."""

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

import runtime
from rolekeeper.mappings.rows.cells import EDITOR
from rolekeeper.mappings.rows.reader import content
from rolekeeper.model import MappingKey


@runtime.metrics.log_metrics
@runtime.logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Mapping[str, Any]:
    """Judge each changed row; those that AWS gave no answer for are reported, and the stream brings them again."""
    app = runtime.app(context.invoked_function_arn)
    telemetry, publisher = app.telemetry, app.publisher

    def judge(record: DynamoDBRecord) -> None:
        change = record.raw_event.get("dynamodb")
        try:
            key = MappingKey(change["Keys"]["tag_key"]["S"], change["Keys"]["tag_value"]["S"])  # type: ignore[index]  # a malformed one is dropped
            only_ours = _only_ours(change.get("OldImage"), change.get("NewImage"))  # type: ignore[union-attr]  # the same
            by = _by(record.raw_event)
        except (AttributeError, KeyError, TypeError):
            # Trying again would never help, and would hold up the shard.
            event_id = record.raw_event.get("eventID", "")
            telemetry.dropped("the stream record names no mapping row", record.raw_event, message_id=event_id)
            return
        if only_ours:
            telemetry.count("StatusWriteSeen")
            return
        telemetry.count("MappingChangeSeen")
        publisher.publish(key, record.raw_event.get("eventID", context.aws_request_id), by)

    processor = BatchProcessor(EventType.DynamoDBStreams, raise_on_entire_batch_failure=False)
    with processor(event["Records"], judge):
        processor.process()
    telemetry.flush()
    return processor.response()


def _only_ours(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> bool:
    """Whether this asks for nothing: only our own columns changed, or what people ask was taken away.

    Removing `status` by hand asks for another check; writing `approve`, for what is held to be served.
    """
    if not (old and new and "status" in new):
        return False
    approves = "approve" in new and new["approve"] != old.get("approve")
    return not approves and content(old) == content(new)


def _by(record: Mapping[str, Any]) -> str:
    """Who made the change, as far as the stream knows: DynamoDB itself for an expired row, or whom the row named last.

    A row that is there says itself who edited it (`edited_by`).
    """
    identity = record.get("userIdentity")
    if isinstance(identity, Mapping) and (principal := identity.get("principalId")):
        return str(principal)
    change = record["dynamodb"]
    gone = change.get("OldImage", {}) if "NewImage" not in change else {}
    named = gone.get("edited_by", {}).get("S", "")
    return str(named)[:EDITOR]
