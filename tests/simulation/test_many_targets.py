"""One edit over many targets: they change side by side, each at its own pace, as far as the workers reach."""

from simulation.many_targets import edited

TARGETS, EACH = 25, 8


def test_with_more_workers_an_edit_over_many_targets_is_done_sooner_and_keeps_every_promise() -> None:
    few, many = (edited([EACH] * TARGETS, workers=workers) for workers in (5, 50))
    for found in (few, many):
        assert (found.changed, found.dead_letters, found.broken) == (TARGETS * EACH, 0, ())
    assert many.seconds - many.begins < (few.seconds - few.begins) / 2


def test_a_large_target_loses_little_time_beside_many_that_are_busy() -> None:
    alone, beside = (edited([100, *[EACH] * busy], workers=50) for busy in (0, TARGETS))
    assert beside.at_hub - beside.begins <= 1.2 * (alone.at_hub - alone.begins)
    assert (alone.broken, beside.broken) == ((), ())


def test_a_tag_becomes_a_role_while_all_workers_are_at_an_edit_of_other_targets() -> None:
    idle, beside = (edited(sizes, workers=10, tags=8) for sizes in ([0, 0], [EACH] * 4 * TARGETS))
    assert beside.tag_to_role <= 4 * idle.tag_to_role
    assert beside.broken == ()


def test_a_new_table_throttles_some_writes_and_every_instance_is_changed_all_the_same() -> None:
    played = edited([EACH] * TARGETS, workers=50, partitions=1)
    assert played.throttled
    assert (played.changed, played.dead_letters, played.broken) == (TARGETS * EACH, 0, ())
