"""State table stream -> what people wrote there takes effect: the control item, pins."""

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

import runtime
from rolekeeper.fleet.overrides import UnknownKeyError
from rolekeeper.storage.layout import Key


@runtime.metrics.log_metrics
@runtime.logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Mapping[str, Any]:
    """Act on each item that was written; those that AWS gave no answer for are reported, and come again."""
    app = runtime.app(context.invoked_function_arn)
    telemetry, overrides = app.telemetry, app.overrides

    def act(record: DynamoDBRecord) -> None:
        event_id = record.raw_event.get("eventID", context.aws_request_id)
        try:
            overrides.written(_key(record.raw_event), event_id)
        except UnknownKeyError as error:
            # Trying again would never help, and would hold up the shard.
            telemetry.dropped(str(error), record.raw_event, message_id=event_id)

    processor = BatchProcessor(EventType.DynamoDBStreams, raise_on_entire_batch_failure=False)
    with processor(event["Records"], act):
        processor.process()
    return processor.response()


def _key(record: Mapping[str, Any]) -> Key:
    try:
        keys = record["dynamodb"]["Keys"]
        return keys["pk"]["S"], keys["sk"]["S"]
    except (KeyError, TypeError) as error:
        raise UnknownKeyError("the stream record has no keys") from error
