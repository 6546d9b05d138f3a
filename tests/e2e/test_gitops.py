"""A repository made from examples/gitops, and its pipeline: the workflow's own steps, on the embedded AWS."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.code_host import CodeHost, variables
from fixtures.command import Command
from rolekeeper_cli.deploy.rollout import NAMED_ROLES, Template
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import ACCOUNT, make_stack
from support.waiting import eventually
from support.workflows import REPOSITORY, ROOT, Clone, Ran, Runner, gitlab_job, id_token, served

pytestmark = pytest.mark.emulator

EXAMPLE = ROOT / "examples/gitops"
ROW = "  - tag_key: orders\n    tag_value: {}\n    role: {}\n"


class Team:
    """People who work on the repository; `comment` is what the pipeline says on their pull request."""

    def __init__(self, clone: Clone, runner: Runner, host: CodeHost) -> None:
        self.clone, self.runner, self.host = clone, runner, host
        self.rows = clone.folder / "mappings/orders.yaml"

    @property
    def comment(self) -> str:
        [body] = self.host.bodies
        return str(body)

    def proposes(self, branch: str) -> Ran:
        """Open a pull request, the only one that is open."""
        self.host.comments.clear()
        return self.runner("pull_request", self.clone.folder, self.clone.commit(branch))

    def merges(self, branch: str) -> Ran:
        commit = self.clone.merge(branch)
        self.host.merged = {commit: 5}
        return self.runner("push", self.clone.folder, commit)

    def night(self) -> Ran:
        self.clone.leave()
        return self.runner("schedule", self.clone.folder, "c0ffee")


@pytest.fixture(scope="module")
def policy(deployed: EmulatedAccount, rolekeeper: Command) -> str:
    """What docs/gitops.md has people print and make: the policy of those who edit mappings."""
    editors = rolekeeper("guard", "editors").stdout
    return deployed.iam.create_policy(PolicyName="rolekeeper-editors", PolicyDocument=editors)["Policy"]["Arn"]


def make_roles(deployed: EmulatedAccount, policy: str, template: str, **more: str) -> None:
    """Deploy the roles of the pipeline."""
    queue = deployed.aws.stack_outputs()["WorkQueue"].rsplit("/", 1)[-1]
    tables = {"MappingTable": deployed.mapping_table, "StateTable": deployed.state_table}
    parameters = {"EditorsPolicy": policy, "WorkQueueName": queue, **tables, **more}
    body = Template({"TemplateBody": template}, NAMED_ROLES)
    make_stack(deployed.stacks, f"gitops-{more['Host']}", body, parameters=parameters)


@pytest.fixture(scope="module")
def team(
    deployed: EmulatedAccount, rolekeeper: Command, policy: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Team]:
    roles = Template({"TemplateBody": (EXAMPLE / "roles.yaml").read_text()}, NAMED_ROLES)
    make_stack(deployed.stacks, "gitops-roles", roles, parameters={"BucketName": "orders"})
    template = (EXAMPLE / "pipeline.yaml").read_text()
    make_roles(deployed, policy, template, Host="GitHub", Subject=f"repo:{REPOSITORY}")
    folder, host = tmp_path_factory.mktemp("gitops"), CodeHost()
    shutil.copytree(EXAMPLE, folder / "repository")
    for name in (".github/workflows/rolekeeper.yml", ".gitlab-ci.yml"):
        file = folder / "repository" / name
        file.write_text(file.read_text().replace("123456789012", ACCOUNT))
    # A module beside the mappings would run with the pipeline's credentials.
    (folder / "repository/yaml.py").write_text("raise SystemExit('a stranger runs code here')")
    rows = folder / "repository/mappings/orders.yaml"
    rolekeeper("mapping", "export", "-o", str(rows.with_name("present.yaml")))
    rolekeeper("plan", "-f", str(rows), "--out", str(folder / "first.plan"))
    rolekeeper("apply", str(folder / "first.plan"))
    clone = Clone(folder / "repository")
    clone.commit()

    def assume(role: str, session: str, token: str) -> dict[str, str]:
        sts = deployed.aws.session().client("sts")
        answer = sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName=session, WebIdentityToken=token)
        keys = answer["Credentials"]
        names = {
            "ACCESS_KEY_ID": "AccessKeyId",
            "SECRET_ACCESS_KEY": "SecretAccessKey",
            "SESSION_TOKEN": "SessionToken",
        }
        return {f"AWS_{name}": keys[key] for name, key in names.items()}  # type: ignore[literal-required]

    with served(host) as address:
        yield Team(clone, Runner(folder, address, deployed.aws.env, assume), host)
    for value in ("web", "batch", "api", "report"):
        deployed.delete_mapping("orders", value)


def test_what_a_pull_request_showed_is_published_once_it_is_merged(team: Team, deployed: EmulatedAccount) -> None:
    instance = deployed.launch("orders-1", orders="api")
    eventually(lambda: deployed.state(instance) == "running")
    team.rows.write_text(team.rows.read_text() + ROW.format("api", "orders-web"))
    # A module beside the mappings would run with the pipeline's credentials.
    (team.clone.folder / "yaml.py").write_text("raise SystemExit('a stranger runs code here')")
    reviewed = team.proposes("api")
    assert reviewed.code == 0, reviewed.log
    assert "`orders=api`" in team.comment
    assert deployed.mapping("orders", "api") == {}
    published = team.merges("api")
    assert published.code == 0, published.log
    assert "This is exactly the plan shown in the pull request." in team.comment
    shown = deployed.shown(instance)
    assert shown
    assert (shown.profile, shown.state) == ("orders-web", "associated")


def test_a_night_finds_what_was_changed_by_hand(team: Team, deployed: EmulatedAccount, rolekeeper: Command) -> None:
    instance = deployed.launch("orders-2", orders="web")
    shown = eventually(lambda: deployed.carries(instance, "orders-web"))
    deployed.set_column("orders", "batch", "description", "by hand")
    rolekeeper("pause")
    deployed.ec2.disassociate_iam_instance_profile(AssociationId=shown.association_id)
    found = team.night()
    rolekeeper("resume")
    assert found.code == 2, found.log
    assert instance in found.summary
    assert "orders=batch" in found.summary
    assert "by hand" in found.summary


def test_gitlab_runs_the_same_steps(team: Team, deployed: EmulatedAccount, policy: str, tmp_path: Path) -> None:
    template = (EXAMPLE / "pipeline.yaml").read_text().replace("rolekeeper-review", "gitlab-review")
    subject = f"project_path:{REPOSITORY}"
    make_roles(
        deployed, policy, template.replace("rolekeeper-publish", "gitlab-publish"), Host="GitLab", Subject=subject
    )
    host = CodeHost("GitLab", me="project_7_bot")
    team.clone.leave()
    ci = team.clone.folder / ".gitlab-ci.yml"
    ci.write_text(ci.read_text().replace("role/rolekeeper-", "role/gitlab-"))
    (team.clone.folder / "requirements.txt").touch()
    team.rows.write_text(team.rows.read_text() + ROW.format("nobody", "orders-web"))
    environ = {name: value for name, value in deployed.aws.env.items() if "_KEY" not in name}
    token = id_token("gitlab.com", f"{subject}:ref_type:branch:ref:topic")
    with served(host) as address:
        job = variables(
            host,
            CI_API_V4_URL=address,
            CI_MERGE_REQUEST_IID="5",
            CI_JOB_URL="http://host/jobs/1",
            ROLEKEEPER_ID_TOKEN=token,
        )
        code, log = gitlab_job("rolekeeper review", team.clone.folder, tmp_path, environ | job)
    assert code == 0, log
    [note] = host.bodies
    assert "`orders=nobody`" in note
    assert "(http://host/jobs/1)" in note
