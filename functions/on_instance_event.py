"""The work queue's function: reconciles the instances that a batch of messages names."""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

import runtime
from rolekeeper.app import App
from rolekeeper.instances.requests import DroppedError, parse
from rolekeeper.model.instance import ReconcileRequest


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Reconcile; answer with the messages that must come again (Lambda's partial batch response)."""
    app = runtime.app(context.invoked_function_arn)
    requests: list[ReconcileRequest] = []
    for record in event["Records"]:
        try:
            requests.append(_request(record, app))
        except DroppedError as dropped:
            app.telemetry.dropped(str(dropped), record["body"], message_id=record["messageId"])
    outcomes = app.reconciler().run(requests)
    app.telemetry.flush()
    failed = [request.message_id for request in requests if outcomes[request.instance].error]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _request(record: dict[str, Any], app: App) -> ReconcileRequest:
    try:
        message = json.loads(record["body"])
    except (ValueError, RecursionError) as error:
        raise DroppedError(f"not JSON: {error}") from error
    return parse(
        message,
        account=app.settings.account,
        region=app.settings.region,
        now=app.now(),
        message_id=record["messageId"],
    )
