"""Which association is ours, also after a crash between the call and its record."""

from rolekeeper.model import Action, InstanceRecord, Intent
from rolekeeper.ownership import IN_FLIGHT, assignment_for, assignment_of, settled_intents
from support.values import NOW, arn, assignment, association, intent

LONG_AGO = IN_FLIGHT.total_seconds() + 1


def _record(*intents: Intent, recorded: bool = False) -> InstanceRecord:
    ours = {"iip-assoc-1": assignment("web", "workload=web")} if recorded else {}
    return InstanceRecord(ours, {each.id: each for each in intents})


def test_a_recorded_association_is_ours() -> None:
    assert assignment_for(_record(recorded=True), association("web"), NOW) == assignment("web", "workload=web")


def test_an_association_that_we_never_meant_is_somebody_elses() -> None:
    assert assignment_for(_record(recorded=True), association("web", id="iip-assoc-2"), NOW) is None
    assert assignment_for(_record(), association("web"), NOW) is None
    assert assignment_for(_record(recorded=True), None, NOW) is None


def test_a_crash_between_the_call_and_its_record_loses_nothing() -> None:
    attach = intent(Action.ATTACH, "web", restore_profile_arn=arn("before"))
    found = assignment_for(_record(attach), association("web"), NOW)
    assert found == assignment_of(attach, "iip-assoc-1")
    assert (found.role, found.restore_profile_arn) == ("web", arn("before"))


def test_a_look_within_the_time_of_a_call_finds_what_the_crash_left() -> None:
    assert assignment_for(_record(intent(Action.ATTACH, "web", ago=LONG_AGO - 2)), association("web"), NOW)


def test_what_stands_there_after_longer_may_as_well_be_somebody_elses() -> None:
    dead = _record(intent(Action.ATTACH, "web", ago=LONG_AGO))
    assert assignment_for(dead, association("web"), NOW) is None
    assert settled_intents(dead, association("web"), NOW)


def test_a_replace_that_never_happened_claims_nothing() -> None:
    # It meant to leave association 1 for role web; association 1 still stands, with a role of the same name.
    replace = intent(Action.REPLACE, "web", leaving="iip-assoc-1")
    assert assignment_for(_record(replace), association("web"), NOW) is None
    assert assignment_for(_record(replace), association("web", id="iip-assoc-2"), NOW)


def test_an_intent_for_another_role_explains_nothing() -> None:
    assert assignment_for(_record(intent(Action.ATTACH, "db")), association("web"), NOW) is None


def test_a_role_given_back_is_no_longer_ours() -> None:
    back = intent(Action.REPLACE, "before", leaving="iip-assoc-0", gives_back=True)
    assert assignment_for(_record(back), association("before"), NOW) is None
    assert settled_intents(_record(back), association("before"), NOW) == [back]


def test_a_detach_explains_no_association() -> None:
    assert (
        assignment_for(_record(intent(Action.DETACH, "NONE", leaving="iip-assoc-0")), association("web"), NOW) is None
    )


def test_a_second_intent_doesnt_lose_the_first() -> None:
    # Attached by the first, whose record was lost; the second set out from its result.
    first = intent(Action.ATTACH, "web", id="first", ago=60)
    second = intent(Action.REPLACE, "db", id="second", leaving="iip-assoc-1")
    record = _record(first, second)
    assert assignment_for(record, association("web"), NOW) == assignment_of(first, "iip-assoc-1")
    assert assignment_for(record, association("db", id="iip-assoc-2"), NOW) == assignment_of(second, "iip-assoc-2")


def test_of_two_intents_for_one_role_the_newest_explains_it() -> None:
    older = intent(Action.ATTACH, "web", id="older", ago=60, restore_profile_arn=arn("before"))
    newer = intent(Action.ATTACH, "web", id="newer")
    found = assignment_for(_record(older, newer), association("web"), NOW)
    assert found
    assert found.restore_profile_arn == ""


# ---- which intents are settled ----


def test_an_attach_is_settled_once_ec2_shows_its_result() -> None:
    attach = intent(Action.ATTACH, "web")
    assert settled_intents(_record(attach), association("web"), NOW) == [attach]


def test_an_attach_that_may_be_in_flight_stays_open() -> None:
    attach = intent(Action.ATTACH, "web", ago=60)
    assert settled_intents(_record(attach), None, NOW) == []
    assert settled_intents(_record(attach), association("db"), NOW) == []


def test_a_replace_and_a_detach_are_settled_once_ec2_shows_another_association() -> None:
    replace = intent(Action.REPLACE, "web", id="r", leaving="iip-assoc-1", ago=2)
    detach = intent(Action.DETACH, "NONE", id="d", leaving="iip-assoc-1", ago=1)
    record = _record(replace, detach)
    assert settled_intents(record, association("x"), NOW) == []
    assert settled_intents(record, association("x", id="iip-assoc-2"), NOW) == [replace, detach]


def test_a_detach_is_settled_once_nothing_is_attached() -> None:
    detach = intent(Action.DETACH, "NONE", leaving="iip-assoc-1")
    assert settled_intents(_record(detach), None, NOW) == [detach]


def test_a_replace_is_settled_once_what_it_set_out_from_is_gone() -> None:
    # EC2 refuses its stale id from now on.
    replace = intent(Action.REPLACE, "web", leaving="iip-assoc-1")
    assert settled_intents(_record(replace), None, NOW) == [replace]


def test_a_swap_stays_open_between_its_halves() -> None:
    swap = intent(Action.REPLACE, "web", leaving="iip-assoc-1", swap=True)
    assert settled_intents(_record(swap), None, NOW) == []
    assert settled_intents(_record(swap), association("web", id="iip-assoc-2"), NOW) == [swap]


def test_when_no_call_can_be_in_flight_any_more_everything_is_settled_oldest_first() -> None:
    attach = intent(Action.ATTACH, "web", id="a", ago=LONG_AGO)
    swap = intent(Action.REPLACE, "db", id="s", leaving="iip-assoc-0", ago=LONG_AGO + 5, swap=True)
    assert settled_intents(_record(attach, swap), None, NOW) == [swap, attach]
    assert settled_intents(_record(intent(Action.ATTACH, "web", ago=LONG_AGO - 2)), None, NOW) == []


def test_what_ec2_showed_says_nothing_of_an_intent_written_since() -> None:
    # Somebody attached, and another of us set out to replace that, after EC2 had shown us that nothing was attached.
    replace = intent(Action.REPLACE, "web", leaving="iip-assoc-1", ago=-0.1)
    assert settled_intents(_record(replace), None, NOW) == []
    assert settled_intents(_record(replace), association("web", id="iip-assoc-2"), NOW) == []
