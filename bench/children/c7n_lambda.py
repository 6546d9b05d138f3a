"""Cloud Custodian as Lambda starts it: the policy is config.json in this folder; gives it a file's event."""

import json
import sys
from types import SimpleNamespace

from c7n.handler import dispatch_event

with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123  # what isn't needed isn't imported
    [event] = json.load(file)
dispatch_event(event, SimpleNamespace(function_name="custodian-web", get_remaining_time_in_millis=lambda: 60_000))
