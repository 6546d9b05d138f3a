"""The instances that carry a managed role, as EC2 shows them: who deletes a stack is told which of them keep it."""

from collections.abc import Iterator

from rolekeeper.aws import Ec2
from rolekeeper.model.instance import Association, AssociationState, Instance, InstanceState
from rolekeeper.settings import Ownership
from rolekeeper_cli.progress import Progress

type Carried = list[tuple[Instance, Association]]


def carrying(ec2: Ec2, ownership: Ownership) -> Iterator[tuple[Instance, Association]]:
    """The instances of an account and Region that carry a managed role, and aren't terminated."""
    with Progress(None, "instances looked at") as progress:
        for page in progress.pages(ec2.fleet()):
            there = [each for each in page if each.state is not InstanceState.TERMINATED]
            associations = ec2.associations([each.key.id for each in there])
            for instance in there:
                found = associations.get(instance.key.id)
                if (
                    found
                    and found.state is not AssociationState.DISASSOCIATING
                    and ownership.manages(found.profile_arn)
                ):
                    yield instance, found
