"""The real SAM CLI first, then `make deploy`: what was deployed stays; a changed mode is reported."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from rolekeeper.aws.queue import Task
from rolekeeper_cli.deploy.stack import declared
from rolekeeper_local.embedded import STACK, EmbeddedAws
from rolekeeper_local.place import REPOSITORY
from support.buses import Bus
from support.clone import SAM, typed
from support.grants import allow, policy
from support.waiting import eventually

pytestmark = pytest.mark.emulator

CONFIG = REPOSITORY / "samconfig.toml"


class Deployer:
    """A person at a terminal in a clone."""

    def __init__(self, aws: EmbeddedAws, directory: Path) -> None:
        self.aws = aws
        self._config = str(shutil.copy(CONFIG, directory))

    def sam(self, built: Path, *answers: str) -> str:
        """`sam deploy --guided` of what `sam build` made, with these answers; what it says."""
        template = str(built / "template.yaml")
        line = [SAM, "deploy", "--guided", "--template-file", template, "--config-file", self._config]
        return typed(line, self.aws.env, "\n".join(answers) + "\n")

    def make(self, *options: str) -> str:
        """`make deploy`, and what it says; nobody is there to confirm it."""
        line = ["make", "--no-print-directory", "deploy", f"ARGS={shlex.join([*options, '--yes'])}"]
        return typed(line, self.aws.env)

    @property
    def parameters(self) -> dict[str, str]:
        (stack,) = self.aws.session().client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        return {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}

    def resource(self, name: str) -> str:
        """The physical id of one of the stack's resources."""
        cloudformation = self.aws.session().client("cloudformation")
        answer = cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId=name)
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    def minute(self) -> None:
        """What each minute's schedule does."""
        task = json.dumps({"task": Task.EXPIRIES}).encode()
        self.aws.session().client("lambda").invoke(FunctionName=self.resource("OnSchedule"), Payload=task)

    @property
    def mode(self) -> str:
        """As the function that changes instances is told it."""
        lambda_ = self.aws.session().client("lambda")
        found = lambda_.get_function_configuration(FunctionName=self.resource("OnInstanceEvent"))
        return found["Environment"]["Variables"]["MODE"]


def test_what_the_sam_cli_deployed_is_kept_by_make_deploy(fresh: EmbeddedAws, built: Path, tmp_path: Path) -> None:
    """The emulator's CloudFormation drops the boundary and the limit, so of those only that a deployment takes them."""
    deploy, config, clients = Deployer(fresh, tmp_path), CONFIG.read_text(), fresh.session().client
    # Stack and Region, then each parameter; no change set to confirm, roles may be made, and nothing is saved.
    parameters = ["40" if name == "MaxChangesPerEdit" else "" for name in declared(REPOSITORY / "template.yaml")]
    deploy.sam(built, "", "", *parameters, "n", "y", "n", "n")
    assert (deploy.mode, deploy.parameters["MaxChangesPerEdit"]) == ("observe", "40")
    bus = Bus(fresh).listen({"source": ["rolekeeper"], "detail-type": ["Mode Changed"]})
    for _ in ("it sweeps", "it notes the mode"):
        deploy.minute()
    made = clients("iam").create_policy(PolicyName="bounds", PolicyDocument=json.dumps(policy(allow("*"))))
    boundary, key = made["Policy"]["Arn"], clients("kms").create_key()["KeyMetadata"]["Arn"]

    def keys() -> list[str | None]:
        """The work queue's and a log's."""
        url = fresh.stack_outputs()["WorkQueue"]
        queue = clients("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        (log,) = clients("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{STACK}/on-retry")["logGroups"]
        return [queue.get("KmsMasterKeyId"), log.get("kmsKeyId")]

    ours = ("--permissions-boundary", boundary, "--kms-key-arn", key, "--retry-concurrency", "3")
    said = deploy.make("--mode", "enforce", "--sweep-schedule", "rate(1 hour)", *ours)
    assert ["Mode", "enforce", "(was", "observe)"] in [line.split() for line in said.splitlines()]
    assert (deploy.mode, deploy.parameters["MaxChangesPerEdit"]) == ("enforce", "40")
    deploy.minute()
    assert eventually(bus.heard)[0]["detail"]["in-effect"] == "enforce"
    assert keys() == [key, key]
    given = ("PermissionsBoundary", "RetryConcurrency", "SweepSchedule")
    assert [deploy.parameters[each] for each in given] == [boundary, "3", "rate(1 hour)"]
    assert CONFIG.read_text() == config
