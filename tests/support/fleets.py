"""Many instances of the embedded AWS at once, and EC2's own answer about all of them."""

from typing import Any

from rolekeeper_local.account import IMAGE, EmulatedAccount, Shown


def launch_many(world: EmulatedAccount, count: int, **tags: str) -> list[str]:
    """Launch instances in one call; their ids."""
    specification: Any = {"ResourceType": "instance", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}
    answer = world.ec2.run_instances(ImageId=IMAGE, MinCount=count, MaxCount=count, TagSpecifications=[specification])
    return [each["InstanceId"] for each in answer["Instances"]]


def carried(world: EmulatedAccount) -> list[tuple[str, Shown]]:
    """What EC2 shows of all instances; one that is changed between two pages is on both."""
    pages = world.ec2.get_paginator("describe_iam_instance_profile_associations").paginate(
        Filters=[{"Name": "state", "Values": ["associating", "associated"]}], PaginationConfig={"PageSize": 1000}
    )
    rows = [row for page in pages for row in page["IamInstanceProfileAssociations"]]
    return [(row["InstanceId"], Shown(row["AssociationId"], _name_in(row), row["State"])) for row in rows]


def _name_in(row: Any) -> str:
    return str(row["IamInstanceProfile"]["Arn"].rsplit("/", 1)[-1])
