"""Every sample in events/ drives the real handler that it is for (the stream's are in test_on_mapping_change)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import on_instance_event
import on_retry
import on_schedule
from fixtures.account import ACCOUNT, REGION, refusing
from fixtures.functions import lambda_context, wire
from fixtures.mappings import Desk
from rolekeeper.model.instance import Action

SAMPLES = Path(__file__).parents[2] / "events"
# The instance of the samples.
INSTANCE = "i-0abcd1234ef567890"
CONTEXT = lambda_context("on_instance_event", seconds=840)


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text())


def queued(*messages: Any) -> dict[str, Any]:
    """Messages as Lambda gets them from the work queue."""
    bodies = [message if isinstance(message, str) else json.dumps(message) for message in messages]
    return {"Records": [{"messageId": f"m{number}", "body": body} for number, body in enumerate(bodies)]}


pytestmark = pytest.mark.desk(usable=["s3-read"], rows={"workload=s3-reader": "s3-read"})


@pytest.fixture(autouse=True)
def functions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions' own wiring over the desk's clients."""
    desk.clients["lambda"] = SimpleNamespace(invoke=lambda **_: {"StatusCode": 202})
    wire(monkeypatch, desk.app)


def launched(desk: Desk, *, runs: bool = True, **tags: str) -> str:
    desk.world.truth.launch(instance_id=INSTANCE, tags=tags)
    if runs:
        desk.world.wait(2)
    return INSTANCE


def test_an_invocation_that_counts_nothing_warns_of_nothing() -> None:
    """In a process of its own, as Lambda starts one: only what rings an alarm is counted."""
    done = subprocess.run(
        [sys.executable, "-c", "import runtime; runtime.metrics.flush_metrics()"],
        env={"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": REGION, "POWERTOOLS_METRICS_NAMESPACE": "Rolekeeper"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


NAMED = ["instance-running", "instance-stopped", "tags-changed", "tags-changed-float-version", "reconcile-requested"]


@pytest.mark.parametrize("name", NAMED)
def test_each_event_that_names_an_instance_gets_it_the_role_of_its_tags(desk: Desk, name: str) -> None:
    instance = launched(desk, workload="s3-reader")
    answer = on_instance_event.handler(queued(sample(name)), CONTEXT)
    assert answer == {"batchItemFailures": []}
    assert desk.world.carries(instance) == "s3-read"
    assert desk.world.events.kinds == ["Role Attached"]


def test_a_pending_instance_starts_the_retry_loop_whose_tick_hands_it_over_once_it_runs(desk: Desk) -> None:
    instance = launched(desk, runs=False, workload="s3-reader")
    on_instance_event.handler(queued(sample("instance-pending")), CONTEXT)
    (started,) = desk.world.machine.started
    desk.world.wait(2)
    answer = on_retry.handler(started["input"], CONTEXT)
    assert answer["outcome"] == "done"
    assert not desk.world.mutations, "the work queue's function keeps EC2's pace; a loop changes nothing"
    (message,) = desk.sent()
    assert message["detail"] == {
        "instance-id": instance,
        "cause": started["input"]["cause"],
        "correlation-id": started["input"]["correlation_id"],
        "loop-over": True,
    }
    on_instance_event.handler(queued(message), CONTEXT)
    assert desk.world.carries(instance) == "s3-read"
    assert desk.world.shows(instance) == ""


def test_what_a_loop_handed_over_gets_another_loop_where_ec2_refuses_it_after_all(desk: Desk) -> None:
    instance = launched(desk, runs=False, workload="s3-reader")
    on_instance_event.handler(queued(sample("instance-pending")), CONTEXT)
    (started,) = desk.world.machine.started
    desk.world.wait(2)
    on_retry.handler(started["input"], CONTEXT)
    (message,) = desk.sent()
    desk.world.truth.stop(instance)
    on_instance_event.handler(queued(message), CONTEXT)
    assert desk.world.shows(instance) == "changing"
    assert len(desk.world.machine.started) == 2, "the first one ended, though the record says that it watches"


def test_two_messages_for_one_instance_are_one_reconcile(desk: Desk) -> None:
    launched(desk, workload="s3-reader")
    on_instance_event.handler(sample("work-queue-batch"), CONTEXT)
    assert desk.world.mutations == ["AssociateIamInstanceProfile"]


NO_INSTANCE = [sample("tags-changed-volume"), {**sample("instance-running"), "account": "999999999999"}]


@pytest.mark.parametrize("message", ["not json", "[" * 100_000, *NO_INSTANCE], ids=lambda message: str(message)[:20])
def test_what_names_no_instance_of_ours_is_dropped_and_logged(desk: Desk, message: Any) -> None:
    answer = on_instance_event.handler(queued(message), CONTEXT)
    assert answer == {"batchItemFailures": []}
    assert [line["reason"] for line in desk.world.logged() if line["message"] == "dropped"]
    assert desk.world.calls.made == []


def test_only_the_messages_of_an_instance_that_failed_come_again(desk: Desk) -> None:
    launched(desk, workload="s3-reader")
    other = desk.world.running(workload="s3-reader")
    desk.world.calls.before("AssociateIamInstanceProfile", refusing("InternalError", "a fault", status=500))
    theirs = sample("instance-running")
    theirs["detail"]["instance-id"] = other
    answer = on_instance_event.handler(queued(sample("instance-running"), theirs), CONTEXT)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert desk.world.carries(other) == "s3-read"


def test_a_tick_at_its_deadline_parks_the_instance_visibly(desk: Desk) -> None:
    desk.world.later(days=2)
    instance = launched(desk, runs=False, workload="s3-reader")
    answer = on_retry.handler(sample("retry-tick"), CONTEXT)
    assert answer["outcome"] == "parked"
    condition = desk.world.record(instance).condition
    assert condition is not None
    assert (condition.action, condition.code, condition.parked) == (Action.WAIT, "changing", True)
    assert desk.world.events.kinds == ["Instance Parked"]
    desk.world.wait(2)
    on_instance_event.handler(queued(sample("instance-running")), CONTEXT)
    assert desk.world.carries(instance) == "s3-read"


def test_a_tick_at_its_deadline_that_can_read_nothing_fails_so_that_it_is_dead_lettered(desk: Desk) -> None:
    desk.world.later(days=2)
    desk.world.calls.before("BatchGetItem", refusing("InternalServerError", "sorry", status=500))
    with pytest.raises(Exception, match="InternalServerError"):
        on_retry.handler(sample("retry-tick"), CONTEXT)


def test_a_tick_for_what_is_no_instance_of_ours_does_nothing_and_says_so(desk: Desk) -> None:
    tick = sample("retry-tick")
    answer = on_retry.handler({**tick, "instance": {**tick["instance"], "region": "eu-west-1"}}, CONTEXT)
    assert answer["outcome"] == "dropped"
    assert desk.world.calls.made == []
    (line,) = (each for each in desk.world.logged() if each["message"] == "dropped")
    assert (line["reason"], line["correlation_id"]) == ("from another region: eu-west-1", tick["correlation_id"])


def test_the_schedule_sweeps(desk: Desk) -> None:
    instance = launched(desk, workload="s3-reader")
    answer = on_schedule.handler(sample("sweep"), CONTEXT)
    assert (answer["instances"], answer["sent"], answer["finished"]) == (1, 1, True)
    (message,) = desk.sent()
    on_instance_event.handler(queued(message), CONTEXT)
    assert desk.world.carries(instance) == "s3-read"


def test_on_a_state_table_that_was_never_swept_an_event_changes_nothing_and_the_first_minute_sweeps(desk: Desk) -> None:
    desk.world.never_swept()
    instance = launched(desk, workload="s3-reader")
    on_instance_event.handler(queued(sample("tags-changed")), CONTEXT)
    assert (desk.world.carries(instance), desk.world.shows(instance)) == ("", "unswept")

    answer = on_schedule.handler(sample("expiries"), CONTEXT)
    assert (answer["sent"], answer["published"], answer["finished"]) == (1, 1, True)

    (message,) = desk.sent()
    on_instance_event.handler(queued(message), CONTEXT)
    assert desk.world.carries(instance) == "s3-read"
    assert "timers" in on_schedule.handler(sample("expiries"), CONTEXT), "from then on a minute is a minute"


def test_the_machine_has_the_rest_of_a_sweep_and_of_a_fan_out_done(desk: Desk) -> None:
    launched(desk, workload="s3-reader")
    hurried = lambda_context("on_schedule", seconds=1)
    first = on_schedule.handler(sample("sweep"), hurried)
    (started,) = desk.world.machine.started
    assert started["input"].keys() == sample("sweep-resumed").keys()
    assert started["input"] == {**first, "task": "sweep", "id": sample("sweep")["id"], "finished": False}
    last = on_schedule.handler(started["input"], CONTEXT)
    assert (last["instances"], last["sent"], last["finished"]) == (1, 1, True)
    left = [{"target": {"account": ACCOUNT, "region": REGION}, "token": ""}]
    answer = on_schedule.handler({**sample("fan-out-resumed"), "left": left}, CONTEXT)
    assert answer.keys() == sample("fan-out-resumed").keys()
    assert (answer["sent"], answer["finished"]) == (sample("fan-out-resumed")["sent"] + 1, True)
    assert [each["detail"]["cause"] for each in desk.sent()] == ["sweep", "mapping changed: workload=s3-reader"]


def test_an_unknown_task_fails_so_that_somebody_looks(desk: Desk) -> None:
    with pytest.raises(ValueError, match="dance"):
        on_schedule.handler({"task": "dance"}, CONTEXT)
    assert desk.world.calls.made == []
