"""The work queue's function: reconciles the instances that a batch of messages names."""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

import runtime
from rolekeeper.clients import Settings
from rolekeeper.events import DroppedError, parse
from rolekeeper.model import Wake


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Reconcile; answer with the messages that must come again (Lambda's partial batch response)."""
    settings = runtime.settings(context.invoked_function_arn)
    announce = runtime.announcer(settings)
    wakes: list[Wake] = []
    for record in event["Records"]:
        try:
            wakes.append(_wake(record, settings))
        except DroppedError as dropped:
            announce.dropped(str(dropped), record["body"], message_id=record["messageId"])
    outcomes = runtime.reconciler(settings, announce, runtime.retry_loop(settings)).run(wakes)
    announce.flush()
    failed = [wake.message_id for wake in wakes if outcomes[wake.instance].error]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _wake(record: dict[str, Any], settings: Settings) -> Wake:
    try:
        message = json.loads(record["body"])
    except (ValueError, RecursionError) as error:
        raise DroppedError(f"not JSON: {error}") from error
    return parse(
        message,
        account=settings.account,
        region=settings.region,
        now=runtime.now(),
        message_id=record["messageId"],
    )
