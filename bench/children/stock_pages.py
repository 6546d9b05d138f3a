"""The AWS SDK as it is, reading every instance in pages."""

import boto3

seen = 0
for page in boto3.client("ec2").get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 200}):
    seen += sum(len(group["Instances"]) for group in page["Reservations"])
print(seen)
