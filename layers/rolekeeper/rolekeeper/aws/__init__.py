"""AWS as the domain asks it: EC2, IAM, the work queue; their errors by what the caller should do."""

from botocore.config import Config

from rolekeeper.aws.alarms import Alarms
from rolekeeper.aws.ec2 import AT_ONCE, Ec2, MapConcurrently, in_threads, one_by_one
from rolekeeper.aws.iam import Iam
from rolekeeper.aws.queue import Machine, Tasks, WorkQueue

__all__ = [
    "AT_ONCE",
    "CONFIG",
    "ELSEWHERE",
    "Alarms",
    "Ec2",
    "Iam",
    "Machine",
    "MapConcurrently",
    "Tasks",
    "WorkQueue",
    "in_threads",
    "one_by_one",
]

# Connect and read limits keep four attempts well inside a function's 60 seconds; "standard" backs off with jitter.
CONFIG = Config(
    connect_timeout=2,
    read_timeout=8,
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=AT_ONCE,
)
# In another target: two of those, no longer together than a batch can spare.
ELSEWHERE = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
