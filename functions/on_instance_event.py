"""The work queue's function: reconciles the instances that a batch of messages names, and registers spokes."""

import json
from typing import TYPE_CHECKING, Any

import runtime
from rolekeeper.instances.requests import DroppedError, parse, present
from rolekeeper.model.instance import ReconcileRequest, Target

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@runtime.logger.inject_lambda_context
@runtime.metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Reconcile; answer with the messages to retry (Lambda's partial batch response)."""
    app = runtime.app(context.invoked_function_arn)
    requests: list[ReconcileRequest] = []
    spokes: dict[str, Target] = {}
    for record in event["Records"]:
        body, message_id = record["body"], record["messageId"]
        try:
            message = _message(body)
            spoke = present(message, app.settings.namespace) if app.settings.organization else None
            if spoke is None:
                requests.append(parse(message, only=app.settings.sole_target, now=app.now(), message_id=message_id))
            else:
                spokes[message_id] = spoke
        except DroppedError as dropped:
            app.telemetry.dropped(str(dropped), message_id)
    outcomes = app.targets.reconcile(requests)
    failed = [request.message_id for request in requests if outcomes[request.instance].error]
    registered = {id_: app.targets.register(spoke, id_, asks=True) for id_, spoke in spokes.items()}
    failed += [id_ for id_, outcome in registered.items() if outcome and outcome.error]
    app.telemetry.flush()
    if app.telemetry.refusing:
        app.targets.end_notifying()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _message(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DroppedError(f"not JSON: {error}") from error
