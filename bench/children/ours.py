"""A function as Lambda starts it: imports its handler by name, and gives it the events of a file, one after another.

An event that goes on with a task is run until that is finished, as the machine does it.
"""

import importlib
import json
import os
import sys
import time

module, _, name = os.environ["_HANDLER"].rpartition(".")
handler = getattr(importlib.import_module(module), name)
SECONDS = int(os.environ["BENCH_TIMEOUT"])


class Context:
    """What Lambda says of one invocation."""

    function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
    memory_limit_in_mb = int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])
    invoked_function_arn = os.environ["BENCH_FUNCTION_ARN"]
    aws_request_id = "request-1"

    def __init__(self) -> None:
        self._ends = time.monotonic() + SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - time.monotonic()) * 1_000)


with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123  # pathlib is nothing that a function needs
    events = json.load(file)
for event in events:
    answer = handler(event, Context())
    for _run in range(100):
        if "task" not in event or answer.get("finished") is not False:
            break
        answer = handler(event := answer, Context())
    if answer.get("batchItemFailures") or (answer.get("finished") is False and "task" not in answer):
        sys.exit(f"not done: {answer}")
