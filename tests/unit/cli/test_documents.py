"""The documents of every command write their keys alike."""

import json
from pathlib import Path

import pytest
from tools.reference import commands

from fixtures.doctor import DoctorFixture
from fixtures.mappings import Desk, mapping_file
from fixtures.terminal import Terminal, odd_keys

# These print what another program takes, in its own form: IAM, CloudFormation, an editor, or a person's YAML file.
OF_OTHERS = {f"guard {part}" for part in ("scp-tags", "scp-path", "editors", "approvers", "detection", "verifiers")}
OF_OTHERS |= {"guard scp-source", "guard revokers"}
OF_OTHERS |= {"spoke parameters", "schema", "mapping export"}
# Their own stories ask for their documents, if they have one: the terminal checks each that it reads.
ELSEWHERE = {"console", "demo", "local", "apply", "deploy", "destroy", "spoke deploy", "spoke remove"}
ELSEWHERE |= {"targets forget", "roles must-include", "verify"}


@pytest.mark.usefixtures("web_and_db", "reports")
def test_every_key_of_every_document_is_lower_snake_case(
    terminal: Terminal, desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    DoctorFixture(terminal, desk, monkeypatch)
    desk.edit("app=web", role="web")
    desk.edit("app=db", role="db")
    one, other = (desk.converged(role, app=role, Name=f"{role}-1") for role in ("web", "db"))
    bare = desk.world.running()
    desk.world.attach_by_hand(other, "web")
    desk.sqs.send_message(QueueUrl=terminal.outputs["DeadLetterQueue"], MessageBody="x")
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: db, owner: me")
    terminal.one_change_passes()
    for value in ("more", "less"):
        desk.world.running(app=value), desk.world.running(app=value)
        desk.edit(f"app={value}", role="web")  # is held
    assert terminal("pause").exit_code == 0
    desk.hears_of_control("event-1")
    ran = set()

    def document(*line: str) -> None:
        ran.add(line)
        done = terminal(*line, "--output", "json")
        for text in done.stdout.splitlines() if line[0] == "watch" else [done.stdout]:
            assert text, done.stderr
            assert odd_keys(json.loads(text)) == [], line

    for line in (
        ["mapping", "ls"],
        ["mapping", "get", "app=web"],
        ["mapping", "history", "app=web"],
        ["mapping", "set", "app=new", "role=web", "owner=me", "--no-wait"],
        ["mapping", "rm", "app=new", "--yes", "--no-wait"],
        ["mapping", "diff", file],
        ["mapping", "validate", file],
        ["mapping", "import", file, "--dry-run"],
        ["mapping", "approve", "app=more", "--yes", "--no-wait"],
        ["mapping", "discard", "app=less", "--yes", "--no-wait"],
        ["mapping", "rollback", "app=web", "--to", "1", "--yes", "--no-wait"],
        ["plan", "-f", file],
        ["fleet"],
        ["explain", one],
        ["explain", other],
        ["uptake", one, other],
        ["launches"],
        ["history", one, "--who"],
        ["history", "--control"],
        ["watch", "--since", "10m", "--for", "1s"],
        ["wait", one, "--role", "web", "--attempts", "1"],
        ["attach", bare, "web", "--no-wait"],
        ["detach", one, "--confirm", "Detach", "--no-wait"],
        ["release", one],
        ["replace", one, "db", "--no-wait"],
        ["revoke", one, "--role", "db"],
        ["revoke", "--clean"],
        ["pause"],
        ["resume"],
        ["mode"],
        ["sweep"],
        ["redrive", "--yes"],
        ["targets"],
        ["doctor"],
        ["roles"],
        ["guard"],
    ):
        document(*line)
    names = {path.removeprefix("rolekeeper ") for path, _ in commands()}
    walked = {name for name in names for line in ran if " ".join(line).startswith(name)}
    assert names - walked - OF_OTHERS - ELSEWHERE == set()
