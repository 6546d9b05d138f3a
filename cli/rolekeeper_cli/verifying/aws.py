"""AWS by the names of its operations, as IAM has them."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jmespath
from botocore import xform_name

from rolekeeper.aws.errors import classified
from rolekeeper_cli.deployment import Deployment

# The permission that a call needs, if it has another name (service authorization reference, "Amazon S3").
_PERMISSIONS = {
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
}


class Aws:
    """Calls by service and operation, such as `iam:ListRoles`. A refusal is an AwsRefusalError."""

    def __init__(self, deployment: Deployment) -> None:
        self.account = deployment.caller.account
        self.region = str(deployment.session.region_name)
        self._client = cache(deployment.client)

    def call(self, call: str, **asked: Any) -> Any:
        service, _, operation = call.partition(":")
        with classified(permission_of(call), _first(asked)):
            return getattr(self._client(service), xform_name(operation))(**asked)

    def items(self, call: str, query: str, **asked: Any) -> Iterator[Any]:
        """What a JMESPath expression finds on all pages of a list."""
        with classified(permission_of(call), _first(asked)):
            for page in self._pages(call, asked):
                yield from jmespath.search(query, page) or ()

    def _pages(self, call: str, asked: Mapping[str, Any]) -> Iterator[Any]:
        service, _, operation = call.partition(":")
        client, method = self._client(service), xform_name(operation)
        if client.can_paginate(method):
            yield from client.get_paginator(method).paginate(**asked)
            return
        token: dict[str, Any] = {}
        while True:  # botocore has no paginator for DescribeQueryDefinitions
            page = getattr(client, method)(**asked, **token)
            yield page
            if not page.get("nextToken"):
                return
            token = {"nextToken": page["nextToken"]}


def permission_of(call: str) -> str:
    return _PERMISSIONS.get(call, call.replace("stepfunctions:", "states:"))


def _first(asked: Mapping[str, Any]) -> str:
    """What a call is about, for its error: the first name or id in it."""
    named = (each[0] if isinstance(each, list) and each else each for each in asked.values())
    return next((each for each in named if isinstance(each, str)), "*")
