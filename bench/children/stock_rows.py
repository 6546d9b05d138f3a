"""The AWS SDK as it is, reading every row of the table that it is given."""

import sys

import boto3

pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName=sys.argv[1], ConsistentRead=True)
print(sum(len(page["Items"]) for page in pages))
