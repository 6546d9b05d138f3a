"""Which instances are nodes that EKS, Karpenter or ECS launched."""

import pytest

from rolekeeper.instances.nodes import node_of
from rolekeeper.model.instance import Instance
from strategies.values import foreign_arn, instance


def tagged(tag: str) -> Instance:
    """A running instance with this tag."""
    return instance(**{tag: "x"})


# By service: tags, and profiles.
NODES = {
    "EKS": (
        """eks:cluster-name eks:nodegroup-name aws:eks:cluster-name kubernetes.io/cluster/prod karpenter.sh/nodepool
        k8s.io/cluster-autoscaler/enabled alpha.eksctl.io/nodegroup-name""",
        """eks-a8c5f0c2-1234-5678-9abc-def012345678 eksctl-prod-nodegroup-ng-1-NodeInstanceProfile-ABC AmazonEKSNodeRole
        prod-NodeInstanceRole-1X2Y3Z KarpenterNodeInstanceProfile-prod KarpenterNodeRole-prod""",
    ),
    "ECS": ("AmazonECSManaged aws:ecs:clusterName", "ecsInstanceRole ecs-instance-profile"),
}
OTHER_TAGS = "Name team my-eks:cluster EKS:cluster-name amazonecsmanaged"
OTHER_PROFILES = "team-web web ecs karpenter node eks-nodes/web weeks-report geeks-eksctl decs-instancer"


@pytest.mark.parametrize("service", NODES)
def test_an_instance_with_a_tag_or_a_profile_of_its_service_is_a_node(service: str) -> None:
    tags, profiles = map(str.split, NODES[service])
    assert {node_of(tagged(tag), foreign_arn("team-web")) for tag in tags} == {service}
    for path in ("", "some/path/"):
        assert {node_of(tagged("Name"), foreign_arn(path + each)) for each in profiles} == {service}


def test_a_tag_says_more_than_a_profile() -> None:
    assert node_of(tagged("aws:ecs:clusterName"), foreign_arn("eks-1234")) == "ECS"


def test_any_other_instance_is_no_node() -> None:
    seen = [(tagged(tag), foreign_arn(profile)) for tag in OTHER_TAGS.split() for profile in OTHER_PROFILES.split()]
    assert [each for each in seen if node_of(*each)] == []
