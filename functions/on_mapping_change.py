"""The mapping table's stream: checks, publishes and fans out each changed row."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import runtime
from rolekeeper.mappings.rows import EDITOR, content
from rolekeeper.model.mapping import MappingKey

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@runtime.metrics.log_metrics
@runtime.logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> Mapping[str, Any]:
    """Judge each changed row; answer with those for which AWS gave no answer, to be retried."""
    app = runtime.app(context.invoked_function_arn)

    def judge(record: Mapping[str, Any]) -> None:
        event_id = record.get("eventID", context.aws_request_id)
        try:
            change = record["dynamodb"]
            key = MappingKey(change["Keys"]["tag_key"]["S"], change["Keys"]["tag_value"]["S"])
            old, new = change.get("OldImage"), change.get("NewImage")
            # A person asks for another check by removing `status`.
            only_ours = bool(old and new and "status" in new) and content(old or {}) == content(new or {})
            made_by = str((record.get("userIdentity") or {}).get("principalId", ""))
            by_a_person = old and not new and not made_by
            claimed_by = str(old.get("edited_by", {}).get("S", ""))[:EDITOR] if by_a_person else ""
        except (AttributeError, KeyError, TypeError):
            # A retry would never help, and would block the shard.
            app.telemetry.dropped("the stream record names no mapping row", event_id)
            return
        if not only_ours:
            app.publisher.publish(key, event_id, claimed_by, made_by=made_by)

    answer = runtime.each_record(event, judge)
    app.telemetry.flush()
    return answer
