"""Instances that EKS, Karpenter or ECS launched as nodes of a cluster."""

import re

from rolekeeper.model.instance import Instance

# How to recognize nodes: by the tags that the services and their tools set, and by the profiles that they make.
# EKS user guide, "Tagging your resources" and "Amazon EKS node IAM role"; Karpenter, "NodeClasses"; eksctl's stacks;
# ECS developer guide, "Tagging resources" and "Amazon ECS container instance IAM role".
_TAGS = {
    "EKS": ("eks:", "aws:eks:", "kubernetes.io/cluster/", "k8s.io/", "karpenter.sh/", "alpha.eksctl.io/"),
    "ECS": ("AmazonECSManaged", "aws:ecs:"),
}
_PROFILES = {
    "EKS": re.compile(r"^eks(ctl)?-|noderole|nodeinstance(role|profile)|karpenternode", re.IGNORECASE),
    "ECS": re.compile(r"^ecs-instance|ecsinstancerole", re.IGNORECASE),
}


def node_of(instance: Instance, profile_arn: str) -> str:
    """Return the service whose node an instance is, by its tags or its profile; empty for no node."""
    tagged = [service for service, prefixes in _TAGS.items() if any(key.startswith(prefixes) for key in instance.tags)]
    named = [service for service, pattern in _PROFILES.items() if pattern.search(profile_arn.rsplit("/", 1)[-1])]
    return next(iter(tagged + named), "")


def advice_for(service: str) -> str:
    """Say what to do about a node's role: no remedy changes it on the instance."""
    where = "its node group or NodeClass"
    if service == "ECS":
        where = "the launch template or capacity provider that launches it"
    return f"{service} launched it as a node, which needs its role: leave it, or change the role in {where}"
