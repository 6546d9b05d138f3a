"""DynamoDB streams to functions: each at its own pace, and no record lost of a batch that failed in part.

ministack reads streams and queues in one thread, so a slow function holds up all others; a batch with reported failures
counts as done; and it never halves a batch, nor gives one up. `stream_batches` has AWS's rules.
"""

import logging
import time
from typing import Any

from ministack.core.arn import ArnParseError, parse_arn
from ministack.core.responses import request_scope
from ministack.services import dynamodb, lambda_svc

from rolekeeper_local.stream_batches import Tries, outcome

logger = logging.getLogger(__name__)


def install() -> None:
    lambda_svc._poll_dynamodb_streams = _Streams().poll


class _Streams:
    def __init__(self) -> None:
        self._tries: dict[str, Tries] = {}

    def poll(self) -> bool:
        """Hand each mapping that is idle its next batch; whether there was one."""
        found = False
        for account, region, mapping in lambda_svc._iter_all_esms():
            with request_scope(account, region):
                found = self._poll_one(mapping) or found
        return found

    def _poll_one(self, mapping: dict[str, Any]) -> bool:
        name, source = mapping["UUID"], mapping.get("EventSourceArn", "")
        busy = name in lambda_svc._esm_inflight or lambda_svc._esm_backoff_until.get(name, 0) > time.time()
        table = _table(source)
        if busy or not table or not mapping.get("Enabled", True):
            return False
        function, _ = lambda_svc._get_func_record_for_qualifier(mapping["FunctionName"], mapping.get("Qualifier"))
        if not function:
            return False
        lambda_svc._init_stream_position(name, source, mapping.get("StartingPosition", "LATEST"))
        at = max(lambda_svc._dynamodb_stream_positions[name], dynamodb.stream_start_position(table))
        size = self._tries.get(name, Tries()).at_most or mapping.get("BatchSize", 100)
        batch = dynamodb.stream_records_since(table, at, size)
        if batch:
            lambda_svc._dispatch_esm_batch(name, self._give, mapping, function, batch, at)
        return bool(batch)

    def _give(self, mapping: dict[str, Any], function: dict[str, Any], batch: list[dict[str, Any]], at: int) -> None:
        name = mapping["UUID"]
        wanted = lambda_svc._apply_filter_criteria(batch, mapping)
        answer = lambda_svc._execute_function(function, {"Records": wanted}) if wanted else {"body": None}
        if output := answer.get("log"):
            logger.info("%s said:\n%s", mapping["FunctionName"], output)
        became = outcome(batch, answer, mapping, tries=self._tries.get(name, Tries()), now=time.time())
        at += became.done
        if rest := batch[became.done :]:
            logger.warning("%s: %d records failed; %s", mapping["FunctionName"], len(rest), became.aside or "again")
        if rest and became.aside:
            source = mapping["EventSourceArn"]
            lambda_svc._send_ddb_stream_failure_record(mapping, function, rest, source, answer, became.aside)
            at += len(rest)
        elif rest:
            lambda_svc._esm_backoff_until[name] = time.time() + lambda_svc._ESM_BACKOFF_SECONDS
        self._tries[name] = became.tries
        with lambda_svc._dynamodb_stream_positions_lock:
            lambda_svc._dynamodb_stream_positions[name] = at


def _table(source: str) -> str:
    """The table whose newest stream this is; empty for any other ARN."""
    try:
        found = lambda_svc._dynamodb_stream_table_from_arn_spec(parse_arn(source))
    except ArnParseError:
        return ""
    table = dynamodb._tables.get(found[0]) if found else None
    return str(found[0]) if table and table.get("LatestStreamArn") == source else ""
