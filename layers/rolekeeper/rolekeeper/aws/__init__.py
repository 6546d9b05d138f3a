"""AWS as the domain asks it: EC2, IAM, the work queue; their errors by what the caller should do."""

from rolekeeper.aws.ec2 import Ec2
from rolekeeper.aws.iam import Iam
from rolekeeper.aws.queue import Tasks, WorkQueue

__all__ = ["Ec2", "Iam", "Tasks", "WorkQueue"]
