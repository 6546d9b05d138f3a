"""Foreign roles that a mapping meets, and which of them are nodes of a cluster."""

import pytest

from rolekeeper.instances.decide import resolve
from rolekeeper.mappings.impact import Scan, node_of
from rolekeeper.model.instance import Instance
from strategies.values import NOW, OWNERSHIP, foreign, foreign_arn, instance, published


def tagged(tag: str) -> Instance:
    """A running instance with this tag."""
    return instance(**{tag: "x"})


PLAIN = foreign_arn("team-web")


@pytest.mark.parametrize(
    ("tag", "service"),
    [
        ("eks:cluster-name", "EKS"),
        ("eks:nodegroup-name", "EKS"),
        ("aws:eks:cluster-name", "EKS"),
        ("kubernetes.io/cluster/prod", "EKS"),
        ("k8s.io/cluster-autoscaler/enabled", "EKS"),
        ("karpenter.sh/nodepool", "EKS"),
        ("alpha.eksctl.io/nodegroup-name", "EKS"),
        ("AmazonECSManaged", "ECS"),
        ("aws:ecs:clusterName", "ECS"),
    ],
)
def test_an_instance_with_a_tag_of_its_service_is_a_node(tag: str, service: str) -> None:
    assert node_of(tagged(tag), PLAIN) == service


@pytest.mark.parametrize(
    ("profile", "service"),
    [
        ("eks-a8c5f0c2-1234-5678-9abc-def012345678", "EKS"),
        ("eksctl-prod-nodegroup-ng-1-NodeInstanceProfile-ABC", "EKS"),
        ("prod-NodeInstanceRole-1X2Y3Z", "EKS"),
        ("AmazonEKSNodeRole", "EKS"),
        ("KarpenterNodeInstanceProfile-prod", "EKS"),
        ("KarpenterNodeRole-prod", "EKS"),
        ("ecsInstanceRole", "ECS"),
        ("ecs-instance-profile", "ECS"),
    ],
)
def test_an_instance_with_a_profile_of_its_service_is_a_node(profile: str, service: str) -> None:
    assert node_of(tagged("Name"), foreign_arn(profile)) == service
    assert node_of(tagged("Name"), foreign_arn(f"some/path/{profile}")) == service, "whatever its path"


def test_a_tag_says_more_than_a_profile() -> None:
    assert node_of(tagged("aws:ecs:clusterName"), foreign_arn("eks-1234")) == "ECS"


@pytest.mark.parametrize("tag", ["Name", "team", "my-eks:cluster", "EKS:cluster-name", "amazonecsmanaged"])
@pytest.mark.parametrize("profile", ["team-web", "web", "ecs", "karpenter", "node"])
def test_any_other_instance_is_no_node(tag: str, profile: str) -> None:
    assert node_of(tagged(tag), foreign_arn(profile)) == ""


def test_the_path_of_a_profile_makes_no_node() -> None:
    assert node_of(tagged("Name"), foreign_arn("eks-nodes/web")) == ""


# ---- what people are warned of ----


def foreign_roles(*profiles: str) -> Scan:
    """What is counted of instances that carry these profiles."""
    seen, mapping, found = tagged("Name"), published("Name=x", "web"), Scan()
    ranked = mapping, resolve(seen, [mapping], NOW)
    for profile in profiles:
        found.add(seen, foreign(profile), ranked, ranked, OWNERSHIP)
    return found


@pytest.mark.parametrize("taken", [False, True])
def test_nodes_are_named_by_their_service_each_once(*, taken: bool) -> None:
    found = foreign_roles("eks-1", "team-web", "ecsInstanceRole", "eks-2")
    assert found.foreign == 4
    assert ", ECS and EKS nodes among them" in found.about_foreign(taken=taken)
    assert ", EKS nodes among them" in foreign_roles("eks-1").about_foreign(taken=taken)


@pytest.mark.parametrize("profile", ["weeks-report", "geeks-eksctl", "decs-instancer"])
def test_a_name_that_only_holds_such_letters_is_no_node(profile: str) -> None:
    assert node_of(instance(), foreign_arn(profile)) == ""
