"""The AWS SDK as it is, making the calls of a file one after another: service, operation and parameters of each."""

import json
import sys

import boto3

with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123  # what isn't needed isn't imported
    calls = json.load(file)
clients = {}
for service, operation, parameters in calls:
    if service not in clients:
        clients[service] = boto3.client(service)
    getattr(clients[service], operation)(**parameters)
