"""fleet, explain, history and wait: how instances stand, and why."""

from datetime import timedelta
from pathlib import Path

import pytest

from fixtures.account import ACCOUNT, REGION, refusing
from fixtures.mappings import Desk, mapping_file
from fixtures.terminal import CALLER, Terminal, lines

pytestmark = pytest.mark.usefixtures("web_and_db")

THEIRS = "arn:aws:iam::123456789012:instance-profile/theirs"


# ---- fleet ----


def test_drift_is_what_rolekeeper_is_to_change_in_the_list_the_status_and_the_exit_code(
    terminal: Terminal, desk: Desk
) -> None:
    desk.edit("app=web", role="web")
    desk.converged("web", app="web")
    desk.edit("app=bad", role="nobody")
    desk.world.running(app="bad", Name="blocked")
    desk.world.launch(app="web", Name="pending")
    ran = terminal("fleet", "--drift", "--detailed-exitcode")
    assert (ran.exit_code, ran.stderr) == (0, "No instance of 3 is in drift.\n"), "one that waits isn't in drift"
    names = [row["name"] for row in terminal.document("fleet", "--status", "waiting", "--status", "blocked")]
    assert names == ["blocked", "pending"]
    desk.world.running(app="web", Name="bare")
    assert [(row["name"], row["stands"]) for row in terminal.document("fleet", "--drift")] == [
        ("pending", "drift"),
        ("bare", "drift"),
    ]
    assert terminal("fleet", "--drift").exit_code == 0
    for form in ("table", "json"):
        assert terminal("fleet", "--drift", "--detailed-exitcode", "-o", form).exit_code == 2
    assert terminal("fleet", "--state", "pending", "--detailed-exitcode").exit_code == 0


def test_the_fleet_is_listed_with_the_role_it_carries_and_the_one_it_should(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    fine = desk.converged("web", app="web", Name="fine")
    drifts = desk.world.running(app="web", Name="drifts")
    alone = desk.world.running(profile="theirs")
    gone = desk.world.running(app="web")
    desk.world.truth.terminate(gone)
    desk.world.wait(5)
    desk.world.truth.terminate(desk.world.running(app="web"))
    ran = terminal("fleet")
    head, *rows = lines(ran.stdout)
    assert head == "INSTANCE NAME STATE CARRIES SHOULD CARRY STATUS REASON"
    assert rows == [
        f"{fine} fine running web web ok",
        f"{drifts} drifts running none web drift app=web gives it role web",
        f"{alone} running theirs theirs foreign no mapping for its tags; {THEIRS} is foreign",
    ]
    assert ran.stderr == "3 instances: 1 drift, 1 foreign, 1 ok.\nWhat to do about one: rolekeeper explain INSTANCE\n"
    head, first, *_ = lines(terminal("fleet", "-o", "wide").stdout)
    assert head == "INSTANCE NAME STATE CARRIES SHOULD CARRY STATUS MAPPING ASSOCIATION REASON"
    association = desk.world.association(fine)
    assert association
    assert first == f"{fine} fine running web web ok app=web {association.id}"


def test_filters_narrow_it(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    desk.edit("app=db", role="db")
    web = desk.converged("web", app="web", tier="gold")
    bare = desk.world.running(app="web")
    db = desk.converged("db", app="db", tier="gold")
    stopped = desk.world.stopped(other="yes")

    def found(*filters: str) -> list[str]:
        return [each["instance"] for each in terminal.document("fleet", *filters)]

    assert found() == [web, bare, db, stopped]
    assert found("--drift") == [bare]
    assert found("--tag", "app=web") == [web, bare]
    assert found("--tag", "app") == [web, bare, db]
    assert found("--tag", "app=*", "--tag", "tier=gold") == [web, db]
    assert found("--role", "web") == [web, bare]
    assert found("--role", "NONE") == [bare, stopped]
    assert found("--state", "stopped") == [stopped]
    assert found("--mapping", "app=db") == [db]
    assert found("--mapping", "app=web", "--drift", "--state", "running") == [bare]
    assert terminal("fleet", "--tag", "=web").exit_code == 252
    assert terminal("fleet", "--mapping", "web").exit_code == 252


def test_drift_shows_while_changes_are_withheld_and_that_is_said(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    desk.world.running(app="web")
    desk.world.control(mode="observe")
    ran = terminal("fleet", "--drift")
    assert "drift" in ran.stdout
    assert ran.stderr.startswith("1 instance: 1 drift.\n")
    assert ran.stderr.endswith("\nNothing is changed now: the mode is observe.\n")


# ---- explain ----


def explained(terminal: Terminal, *arguments: str) -> dict[str, str]:
    """What explain tells people, by the name of the line."""
    ran = terminal("explain", *arguments)
    assert ran.exit_code == 0, ran.output
    told: dict[str, str] = {}
    last = ""
    for line in ran.stdout.splitlines():
        name, text = line[:14].strip(), line[14:].strip()
        last = name or last
        told[last] = f"{told[last]}\n{text}" if last in told else text
    return told


def test_a_role_is_explained_by_its_mapping_and_what_woke_us(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web", owner="team-a")
    desk.edit("app=*", role="db", priority=200)
    one = desk.converged("web", app="web", Name="web-1")
    association = desk.world.association(one)
    assert association
    told = explained(terminal, "web-1")
    assert told == {
        "instance": f"{one} (web-1), running",
        "carries": f"web ({association.id}, associated), attached by Rolekeeper for app=web",
        "should carry": "web",
        "because": "it carries role web, as app=web asks (Nothing, converged)",
        "mapping": "app=web, revision 1, priority 100, owned by team-a",
        "overridden": "app=*: priority 200 comes after 100 of app=web",
        "unknown": (
            "who tagged app=web: not in CloudTrail's event history of us-east-1: older than 90 days, not there yet "
            "(up to 15 minutes late), or another Region's"
        ),
        "not seen": (
            "web, neither EC2's delivery nor a call since 2026-03-01T09:00:04Z, which isn't unused; "
            f"see rolekeeper uptake {one}"
        ),
        "triggered by": "test (2026-03-01T09:00:04Z)",
        "last decision": "Attach (unoccupied): app=web gives it role web",
        "AWS answered": association.id,
        "before that": "no role (until 2026-03-01T09:00:04Z)",
        # Without app=web, app=* would give it db.
        "to undo": (
            f"aws ec2 delete-tags --resources {one} --tags Key=app  (for this instance: it carries no role again)\n"
            f"rolekeeper detach {one}  (it carries no role again, whatever its tags say)"
        ),
    }


def test_what_it_shows_while_it_is_refused_is_explained(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web", when_occupied="keep")
    one = desk.world.running(profile="theirs", app="web")
    desk.world.reconcile(one)
    told = explained(terminal, one)
    assert told["carries"].endswith("foreign: outside the role path")
    assert told["should carry"] == "web"
    assert told["because"].startswith("it carries the foreign arn:aws:iam::123456789012:instance-profile/theirs")
    assert "deploy with TakeOver=true and set when_occupied=replace" in told["because"]
    assert told["condition"].startswith("for the same reason, since ")
    assert told["last decision"] == "Hold (occupied): for the same reason"
    assert told["AWS answered"] == "nothing: it wasn't asked"


# What changes the role of an instance: no remedy for a node may name it.
CHANGES = ("iam-instance-profile", "TakeOver", "rolekeeper attach", "rolekeeper replace", "rolekeeper detach")


def test_no_remedy_changes_the_role_of_a_node(terminal: Terminal, desk: Desk, tmp_path: Path) -> None:
    desk.edit("app=web", role="web")
    one = desk.world.running(profile="eks-node", app="web")
    desk.world.reconcile(one)
    file = mapping_file(tmp_path, "tag_key: app, tag_value: web, role: web, priority: 7")
    for line in (
        ("explain", one),
        ("fleet", "-o", "json"),
        ("plan",),
        ("plan", "-f", file, "-o", "markdown"),
        ("attach", one, "web"),
        ("replace", one, "web"),
    ):
        output = " ".join(terminal(*line).output.split())
        assert "leave it, or change the role in its node group or NodeClass" in output, line
        assert not [each for each in CHANGES if each in output], line


@pytest.mark.parametrize("which", [(), ("--role", "web")])
def test_nor_does_a_revocation(terminal: Terminal, desk: Desk, which: tuple[str, ...]) -> None:
    desk.edit("app=web", role="web")
    ran = terminal("revoke", desk.converged("web", app="web", AmazonECSManaged=""), *which)
    assert "change the role in the launch template or capacity provider that launches it" in ran.stderr
    assert "rolekeeper detach" not in ran.stderr


def test_a_node_whose_role_was_taken_over_is_left_alone_to_undo_that(terminal: Terminal, desk: Desk) -> None:
    terminal.parameters["TakeOver"] = "true"
    desk.world.take_over = True
    desk.edit("app=web", role="web", when_occupied="replace")
    one = desk.world.running(profile="eks-node", app="web")
    desk.world.reconcile(one)
    desk.world.reconcile(one)
    steps = explained(terminal, one)["to undo"]
    assert steps.startswith(
        f"aws ec2 create-tags --resources {one} --tags Key=rolekeeper:ignore,Value=true  (first: leave"
    )
    assert "change the role in its node group or NodeClass" in steps
    assert not [each for each in CHANGES if each in steps]


def test_a_take_over_names_the_role_that_was_there_before(terminal: Terminal, desk: Desk) -> None:
    terminal.parameters["TakeOver"] = "true"
    desk.world.take_over = True
    desk.edit("app=web", role="web", when_occupied="replace")
    one = desk.world.running(profile="theirs", app="web")
    desk.world.reconcile(one)
    desk.world.wait(3)
    for _ in range(3):
        desk.world.reconcile(one)
    assert explained(terminal, one)["took over from"].startswith("arn:aws:iam::123456789012:instance-profile/theirs (")
    entry = terminal.document("history", one)[-1]
    assert (entry["outcome"], entry["from"], entry["to"]) == ("done", "theirs", "web")


def test_a_pin_is_explained_and_undone_by_a_release(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(app="web")
    terminal("attach", one, "db", "--for", "8h", "--reason", "incident 42", "--no-wait")
    told = explained(terminal, one)
    until = desk.world.clock.now() + timedelta(hours=8)
    assert told["pin"] == f"db until {until:%Y-%m-%dT%H:%M:%SZ}, claimed by {CALLER}: incident 42"
    assert told["should carry"] == "db"
    assert told["to undo"] == (
        f"rolekeeper release {one}  (ends the pin: it keeps no role)\n"
        f"rolekeeper detach {one}  (it keeps no role, whatever its tags say)"
    )


def test_an_ignored_instance_a_withheld_change_and_one_that_was_never_seen(terminal: Terminal, desk: Desk) -> None:
    ignored = desk.world.running(app="web", **{"rolekeeper:ignore": "true"})
    assert explained(terminal, ignored)["to undo"].startswith("nothing: ")
    desk.edit("app=web", role="web")
    one = desk.world.running(app="web")
    desk.world.control(paused=True)
    told = explained(terminal, one)
    assert told["withheld"] == "Rolekeeper is paused: nothing is changed now"
    assert told["because"] == "app=web gives it role web (Attach, unoccupied)"
    assert "triggered by" not in told


# ---- history ----


def test_history_tells_each_change_newest_first(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    one = desk.converged("web", app="web", Name="web-1")
    attached = desk.world.association(one)
    desk.world.untag(one, "app")
    desk.world.reconcile(one)
    assert attached
    detach, attach = terminal.document("history", "web-1")
    assert (detach["action"], detach["from"], detach["to"], detach["code"]) == ("Detach", "web", None, "unmatched")
    assert (attach["action"], attach["to"], attach["answer"]["association_id"]) == ("Attach", "web", attached.id)
    head, newest, _ = lines(terminal("history", one).stdout)
    assert head == "AT DECIDED FROM TO WHY"
    assert "Detach (unmatched) web none test → " in newest
    assert attached.id in lines(terminal("history", one, "-o", "wide").stdout)[2]
    ran = terminal("history", one, "--limit", "1")
    assert (len(lines(ran.stdout)), ran.stderr) == (2, "The newest 1; more, if there are any, with --limit.\n")


def test_what_aws_refused_is_told(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    one = desk.world.running(app="web")
    desk.world.calls.before("AssociateIamInstanceProfile", refusing("UnauthorizedOperation", "not you"))
    desk.world.reconcile(one)
    assert "UnauthorizedOperation: not you" in terminal("history", one).stdout
    assert explained(terminal, one)["AWS answered"] == "UnauthorizedOperation: not you"


def test_the_history_of_an_instance_that_is_gone_is_kept_under_its_id(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    one = desk.converged("web", app="web", Name="web-1")
    desk.world.truth.terminate(one)
    desk.world.later(hours=2)
    assert terminal("history", one).exit_code == 0
    ran = terminal("history", "web-1")
    assert (ran.exit_code, "there is no instance web-1" in ran.stderr) == (1, True)


def test_an_instance_without_a_history_is_told_as_that(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running()
    ran = terminal("history", one)
    assert (ran.exit_code, f"{one} has no history" in ran.stderr) == (1, True)
    assert "there is no instance i-00000000000000fff" in terminal("history", "i-00000000000000fff").stderr


# ---- wait ----


def test_it_waits_until_ec2_shows_the_role(terminal: Terminal, desk: Desk) -> None:
    desk.edit("app=web", role="web")
    one = desk.world.running(app="web", Name="web-1")
    terminal.reconciles(one)
    ran = terminal("wait", "web-1", "--role", "web")
    assert (ran.exit_code, ran.stdout) == (0, f"{one} (web-1) carries web.\n")
    told = terminal.document("wait", one, "--role", "web")
    association = desk.world.association(one)
    assert association
    here = {"instance": one, "account": ACCOUNT, "region": REGION}
    assert told == {**here, "role": "web", "instance_profile": "web", "association": association.id}


def test_a_stopped_instance_is_told_with_what_starts_it(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.stopped(profile="web")
    ran = terminal("wait", one, "--role", "db", "--attempts", "1")
    assert ran.exit_code == 255
    assert f"type in another terminal: aws ec2 start-instances --instance-ids {one}\n" in ran.stderr
    for role in ("web", "NONE"):
        assert "another terminal" not in terminal("wait", one, "--role", role, "--attempts", "1").stderr


def test_after_so_many_looks_it_gives_up_with_255(terminal: Terminal, desk: Desk) -> None:
    one = desk.world.running(profile="theirs")
    began = desk.world.clock.now()
    ran = terminal("wait", one, "--role", "web")
    assert ran.exit_code == 255
    assert f"{one} carries theirs (associated) and not web, after 40 looks" in ran.stderr
    assert desk.world.clock.now() - began == timedelta(seconds=15 * 39)
    began = desk.world.clock.now()
    assert terminal("wait", one, "--role", "NONE", "--every", "2", "--attempts", "3").exit_code == 255
    assert desk.world.clock.now() - began == timedelta(seconds=4)
    assert terminal("wait", one).exit_code == 252
