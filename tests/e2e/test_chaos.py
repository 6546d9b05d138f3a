"""Everything goes wrong for a while, on a fleet that never rests; then EC2's own answer is what tags and mappings say.

`make chaos` plays five minutes with 120 instances. ROLEKEEPER_CHAOS_SEED, ROLEKEEPER_CHAOS_SECONDS and
ROLEKEEPER_CHAOS_INSTANCES choose otherwise; the report begins with the seed.
"""

import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rolekeeper.model.instance import InstanceKey, InstanceRecord
from rolekeeper.storage import layout
from rolekeeper.storage.state import Store
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.ec2_model import Timings
from rolekeeper_local.embedded import REGION, EmbeddedAws
from spec.carries import Wanted
from support import chaos_faults
from support.chaos_oracle import Difference, difference, is_contested
from support.chaos_queues import POISON, Queues, explanation
from support.chaos_story import Story
from support.ports import free_port
from support.waiting import eventually

pytestmark = pytest.mark.emulator

SEED = int(os.environ.get("ROLEKEEPER_CHAOS_SEED") or random.SystemRandom().randrange(10_000))
SECONDS = float(os.environ.get("ROLEKEEPER_CHAOS_SECONDS") or 25)
INSTANCES = int(os.environ.get("ROLEKEEPER_CHAOS_INSTANCES") or 60)
CONTESTED_AFTER = 3
# An edit may change a quarter of the fleet, and a mapping so many in its window, which is as short as it can be.
PARAMETERS = {
    "Mode": "enforce",
    "TakeOver": "true",
    "MaxChangesPerEdit": str(INSTANCES // 4),
    "MaxChangesPercent": "0",
    "ChangeWindowMinutes": "1",
    "ContestedAfter": str(CONTESTED_AFTER),
}
TIMINGS = Timings()
# What fails is retried within the time of the test, and in the outage becomes a dead letter.
TRIES, PATIENCE, PATIENCE_IN_OUTAGE = 3, 10, 4
OUTAGE_SECONDS = max(SECONDS * 0.2, 13)
# Between two acts of people; and how often the weather changes, functions are restarted and a sweep is asked for.
BREAK, WEATHER_SECONDS, RESTART_SECONDS, SWEEP_SECONDS = 0.1, 3, 15, 10
# Reservation in a mapping's window comes after two minutes, a retry loop after one; and all that on a slow machine.
QUIET_WITHIN = 600


@pytest.fixture(scope="module")
def world(artifacts: Path) -> Iterator[EmulatedAccount]:
    with EmbeddedAws(port=free_port(), timings=TIMINGS, artifacts=artifacts, plugin=chaos_faults.FILE) as aws:
        aws.deploy(**PARAMETERS)
        yield EmulatedAccount(aws)


def break_loose(story: Story, queues: Queues) -> None:
    """The chaos itself."""
    aws, sweeper, weather = story.world.aws, story.world.aws.function_name("OnSchedule"), random.Random(SEED)
    began = time.monotonic()
    outage_at = began + SECONDS * 0.3
    changes_at, restarts_at, sweeps_at, in_outage = began, began + RESTART_SECONDS, began + SWEEP_SECONDS, False
    while (now := time.monotonic()) < began + SECONDS:
        if in_outage != (outage_at <= now < outage_at + OUTAGE_SECONDS):
            in_outage = not in_outage
            queues.set_patience(PATIENCE_IN_OUTAGE if in_outage else PATIENCE)
            changes_at = sweeps_at = now
        if now >= changes_at:
            chaos_faults.steer(aws, **(chaos_faults.outage() if in_outage else chaos_faults.storm(weather)))
            changes_at = now + WEATHER_SECONDS
            assert story.beyond_the_path(story.seen()) == []
        if now >= restarts_at:
            aws.control("restart-functions", {})
            story.done["functions restarted"] += 1
            restarts_at = now + RESTART_SECONDS
        if now >= sweeps_at:
            story.world.lambda_.invoke(FunctionName=sweeper, InvocationType="Event", Payload=b"{}")
            story.done["sweep amid it"] += 1
            sweeps_at = now + SWEEP_SECONDS
        story.act()
        time.sleep(BREAK)
    chaos_faults.steer(aws)


def record(world: EmulatedAccount, instance: str) -> InstanceRecord:
    """What Rolekeeper itself remembers of an instance."""
    pk, sk = layout.record_key(InstanceKey(world.account, REGION, instance))
    answer = world.dynamodb.get_item(TableName=world.state_table, Key={"pk": {"S": pk}, "sk": {"S": sk}})
    return layout.record_from(layout.from_attributes(answer.get("Item", {})))


def compared(story: Story) -> tuple[list[Difference], list[str]]:
    """Every instance by EC2's own answer: the differences without a reason, and the others with theirs.

    An association that we made and that no grant explains is one too: nothing would detach it when its tag goes.
    """
    rows, unexplained, explained = story.rows(), [], []
    for seen in story.seen():
        remembered = record(story.world, seen.id)
        if seen.association and seen.association not in story.theirs and seen.profile not in remembered.grants:
            unexplained.append(Difference(seen, Wanted(seen.profile, "a grant")))
        if found := difference(seen, rows, remembered, path_arn(story.world)):
            if is_contested(found, remembered, story.meddled[seen.id], CONTESTED_AFTER):
                explained.append(f"shows why not: {seen.id} is contested, and wants {found.wanted.carries}")
            else:
                unexplained.append(found)
    return unexplained, explained


def path_arn(world: EmulatedAccount) -> str:
    """How the ARNs of profiles under the role path begin."""
    return f"arn:aws:iam::{world.account}:instance-profile/rolekeeper/"


def dropped(world: EmulatedAccount) -> Counter[str]:
    """How many messages the function dropped by its log, by the reason; each message once."""
    log = world.aws.log.read_text(errors="replace").replace('\\"', '"').splitlines()
    found = {}
    for line in (each for each in log if '"dropped"' in each):
        reason, message = re.search(r'"reason": ?"([^":]+)', line), re.search(r'"correlation_id": ?"([^"]+)', line)
        assert reason
        assert message
        found[message[1]] = reason[1]
    return Counter(found.values())


def evidence(world: EmulatedAccount, instance: str) -> list[str]:
    """All that is known of an instance: its record and its history as stored, and what the functions logged."""
    key = InstanceKey(world.account, REGION, instance)
    state = Store(world.dynamodb, world.state_table)
    stored = state.get([layout.record_key(key)]).get(layout.record_key(key), {})
    history = [f"history: {entry}" for entry in reversed(state.history(layout.instance_pk(key)))]
    logged = [line for line in world.aws.log.read_text(errors="replace").splitlines() if instance in line]
    return [f"record: {stored}", *history, *(f"log: {line}" for line in logged)]


def summary(unexplained: list[Difference], explained: list[str]) -> list[str]:
    """The result of a comparison, in lines."""
    differing = [f"DIFFERS: {each.seen} shows {each.shown or 'nothing'}, wanted {each.wanted}" for each in unexplained]
    return [*explained, *differing, f"compared with EC2: {len(differing)} differences, {len(explained)} shown"]


def report(title: str, counts: Mapping[str, int]) -> list[str]:
    """A table of two columns."""
    return [f"{title}:", *(f"  {number:6} {name}" for name, number in sorted(counts.items()))]


def test_after_chaos_every_instance_is_as_its_tags_say(world: EmulatedAccount) -> None:
    aws, queues, story, began = world.aws, Queues(world, TRIES), Story(world, SEED), time.monotonic()

    def say(*lines: str) -> None:
        for line in lines:
            print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)  # noqa: T201  # shown by `make chaos`, and of a failure

    say(f"chaos: seed {SEED}, {SECONDS:g} s, {INSTANCES} instances")
    story.make_roles()
    time.sleep(TIMINGS.propagation)
    story.write_rows()
    eventually(lambda: all(row.get("status") == "Published" for row in story.rows()))
    queues.set_patience(PATIENCE)
    chaos_faults.steer(aws, seed=SEED, **chaos_faults.mild())
    story.launch(INSTANCES)
    say("launched, and everything goes wrong")
    break_loose(story, queues)
    say("over: people put their rows in order, and wait until it is quiet")
    story.mend()
    queues.become_quiet(QUIET_WITHIN)
    queues.poison()
    letters = queues.letters()
    why = {
        each["MessageId"]: explanation(each, ours=queues.poisoned, fleet=story.fleet, tries=TRIES) for each in letters
    }
    say(f"quiet: {queues.redrive()} dead letters, redriven")
    queues.become_quiet(QUIET_WITHIN)
    say("quiet: one sweep")
    swept = world.sweep()
    eventually(lambda: story.approve() == 0 and story.published(), QUIET_WITHIN)
    queues.settle(QUIET_WITHIN)
    unexplained, explained = compared(story)
    say(*summary(unexplained, explained))
    say(*(line for found in unexplained for line in evidence(world, found.seen.id)))

    messages = aws.message_counts()[queues.arn(queues.work)]
    say(*report("faults", chaos_faults.counts(aws)), *report("done", story.done))
    say(*report("dead letters", Counter(text or "NOT EXPLAINED" for text in why.values())))
    say(*report("messages on the work queue", messages))

    assert unexplained == []
    assert story.taken_away(story.seen()) == []
    assert story.beyond_the_path(story.seen()) == []
    assert (swept["finished"], swept["problems"]) == (True, [])
    assert [each for each in letters if not why[each["MessageId"]]] == []
    assert dropped(world) >= Counter(POISON.values())
    assert queues.waiting(queues.dead) == 0
    assert messages["lost"] == 0
    assert messages["sent"] == messages["received"] == messages["deleted"] + messages["dead"]
