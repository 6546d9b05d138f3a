"""The least: the SDK's own signer and the standard library's HTTP, with the bodies that the functions sent."""

import http.client
import json
import os
import sys

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123  # what isn't needed isn't imported
    calls = json.load(file)
keys = Credentials(
    os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["AWS_SESSION_TOKEN"]
)
endpoint = os.environ["AWS_ENDPOINT_URL"]
connections: dict[str, http.client.HTTPConnection] = {}
for service, headers, body in calls:
    request = AWSRequest("POST", f"{endpoint}/", headers=headers, data=body)
    SigV4Auth(keys, service, os.environ["AWS_REGION"]).add_auth(request)
    if service not in connections:
        connections[service] = http.client.HTTPConnection(endpoint.removeprefix("http://"))
    connections[service].request("POST", "/", body.encode(), dict(request.headers.items()))
    answer = connections[service].getresponse()
    answer.read()
    if answer.status != http.client.OK:
        sys.exit(f"{service} answered {answer.status}")
