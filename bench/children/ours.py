"""A function as Lambda starts it: imports its handler by name, and gives it the events of a file, one after another."""

import importlib
import json
import os
import sys
import time
from types import SimpleNamespace

BEGAN = time.monotonic()
module, _, name = os.environ["_HANDLER"].rpartition(".")
handler = getattr(importlib.import_module(module), name)
context = SimpleNamespace(
    function_name=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
    memory_limit_in_mb=int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
    invoked_function_arn=os.environ["BENCH_FUNCTION_ARN"],
    aws_request_id="request-1",
    get_remaining_time_in_millis=lambda: 900_000 - (time.monotonic() - BEGAN) * 1_000,
)
with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123  # pathlib is nothing that a function needs
    events = json.load(file)
for event in events:
    answer = handler(event, context)
    if answer.get("batchItemFailures") or answer.get("finished") is False:
        sys.exit(f"not done: {answer}")
