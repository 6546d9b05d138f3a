"""Foreign roles that a mapping meets: how many instances carry one, and which of them are nodes of a cluster. Pure.

A node that loses its role drops out of its cluster, so people are warned of those by name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rolekeeper.model import Association, Instance

# How nodes are told, by the tags that the services and their tools set on them, and by the profiles that they make:
# EKS user guide, "Tagging your resources" and "Amazon EKS node IAM role"; Karpenter, "NodeClasses"; eksctl's stacks;
# ECS developer guide, "Tagging resources" and "Amazon ECS container instance IAM role".
_TAGS: Mapping[str, tuple[str, ...]] = {
    "EKS": ("eks:", "aws:eks:", "kubernetes.io/cluster/", "k8s.io/", "karpenter.sh/", "alpha.eksctl.io/"),
    "ECS": ("AmazonECSManaged", "aws:ecs:"),
}
_PROFILES: Mapping[str, re.Pattern[str]] = {
    "EKS": re.compile(r"^eks(ctl)?-|noderole|nodeinstance(role|profile)|karpenternode", re.IGNORECASE),
    "ECS": re.compile(r"^ecs-instance|ecsinstancerole", re.IGNORECASE),
}


def node_of(instance: Instance, profile_arn: str) -> str:
    """The service whose node an instance is, `EKS` or `ECS`, by its tags or its profile; empty when nothing says so."""
    name = profile_arn.rsplit("/", 1)[-1]
    for service, prefixes in _TAGS.items():
        if any(key.startswith(prefixes) for key in instance.tags):
            return service
    return next((service for service, pattern in _PROFILES.items() if pattern.search(name)), "")


@dataclass(slots=True)
class ForeignRoles:
    """The instances of a mapping that carry a foreign role, and the services whose nodes are among them."""

    count: int = 0
    nodes: set[str] = field(default_factory=set)

    def add(self, instance: Instance, association: Association) -> None:
        """Add one instance."""
        self.count += 1
        self.nodes |= {node_of(instance, association.profile_arn)} - {""}

    def warning(self, *, taken: bool) -> str:
        """What to tell people of them, without their number, which changes with the fleet; empty when there are none.

        Args:
            taken: whether the mapping takes them over.
        """
        if not self.count:
            return ""
        among = f", {' and '.join(sorted(self.nodes))} nodes among them" if self.nodes else ""
        if taken:
            return f"it takes over instances that carry foreign roles{among} (occupied says how many)"
        return f"instances that carry foreign roles keep them{among} (occupied says how many; explain says what to do)"
