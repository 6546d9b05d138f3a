"""One instance over its life: people do what they may in any order, and `decide` is asked after each step.

EC2 is the pure truth about it. What we remember is the simplest model that can be: for each profile that we ever asked
for, the mapping that it was for. What must hold is in `spec.decision_laws`.
"""

import contextlib
import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fakes.clock import START, Clock
from rolekeeper.instances.decide import resolve
from rolekeeper.model.instance import Action, Association, AssociationState, Decision, Grant, Instance, InstanceState
from rolekeeper.model.mapping import IGNORE_TAG, MappingKey, MappingSpec, Pin, PublishedMapping
from rolekeeper_local.ec2_model import Ec2Error, Profile
from rolekeeper_local.ec2_truth import Ec2Truth
from spec.carries import Situation, wanted
from spec.decision_laws import FROM_DECIDE, LAWS, View
from strategies.happenings import at_most, columns, ignores, pins, policies, roles
from strategies.values import KEY, OWNERSHIP, TAKES_OVER, arn, decided, foreign_arn

BECOMES = {InstanceState.PENDING: InstanceState.RUNNING, InstanceState.STOPPING: InstanceState.STOPPED}
# People ask at any time; EC2 refuses what it can't do now, and they see why.
IF_EC2_TAKES_IT = contextlib.suppress(Ec2Error)
# Two tags and few rows, so that what is written, lost and pinned is often about the very role that is carried.
tag_keys = st.sampled_from(["team", "Team"])
tag_maps = st.dictionaries(tag_keys, st.just("web"), min_size=1)
mapping_keys = st.builds(MappingKey, tag_keys, st.sampled_from(["*", "web"]))
# All profiles that there are: those under the role path, and a foreign one.
MANAGED = frozenset({arn("web"), arn("db")})
FOREIGN = foreign_arn()
# What people attach by hand: the foreign one, and one that a mapping may want too.
by_hand = st.sampled_from([FOREIGN, arn("web")])
# One instance in eight is managed by an AWS service.
operators = st.sampled_from(["eks.amazonaws.com"] + [""] * 7)


class OneInstance(RuleBasedStateMachine):
    """See the module. `rows` are the published mappings; `grants` is what we remember, by the profile's ARN.

    `late` is a change that was asked for by a worker that is dead by now: EC2 may still make it.
    """

    reached: ClassVar[set[tuple[str, str]]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        profiles = {each: _profile(each) for each in (*MANAGED, FOREIGN)}
        self.truth = Ec2Truth(
            now=lambda: self.clock.seconds,
            new_id=self._new_id,
            find_profile=profiles.get,
            emit=lambda _event: None,
        )
        self.ids = 0
        self.rows: dict[MappingKey, PublishedMapping] = {}
        self.written: dict[MappingKey, PublishedMapping] = {}
        self.pin: Pin | None = None
        self.take_over = False
        self.grants: dict[str, Grant] = {}
        self.late: Decision | None = None
        # The mappings' clock: hours here, so that following a decision to its end takes no time of it.
        self.now: datetime = START
        self.id = ""

    def _new_id(self, kind: str) -> str:
        self.ids += 1
        return f"{kind}-{self.ids:017x}"

    # ---- people: instances ----

    @initialize(
        rows=st.dictionaries(mapping_keys, st.tuples(roles, policies, st.integers(99, 101)), min_size=1, max_size=3),
        tags=tag_maps,
        profile=st.sampled_from([None, FOREIGN, arn("web"), arn("web")]),
        operator=operators,
        served=st.sampled_from([True, True, False]),
        take_over=st.booleans(),
    )
    def begin(
        self,
        rows: dict[MappingKey, tuple[str, dict[str, Any], int]],
        tags: dict[str, str],
        profile: str | None,
        operator: str,
        *,
        served: bool,
        take_over: bool,
    ) -> None:
        self.take_over = take_over
        for key, (role, rest, priority) in rows.items():
            self.write_row(key, role, rest | {"priority": priority})
        self._launch(tags, profile, operator)
        if served:
            self.follow_to_the_end()

    @rule(profile=st.none() | by_hand, operator=operators)
    @precondition(lambda self: self.truth.instance(self.id).state == "terminated")
    def launch_another(self, profile: str | None, operator: str) -> None:
        self._launch(self.truth.instance(self.id).tags, profile, operator)

    @rule(seconds=st.sampled_from([0, 10, 10]))
    def stop_or_start(self, seconds: float) -> None:
        running = self.truth.instance(self.id).state == "running"
        with IF_EC2_TAKES_IT:
            (self.truth.stop if running else self.truth.start)(self.id)
        self.clock.sleep(seconds)

    @rule(seconds=st.sampled_from([0.1, 2]), terminated=st.sampled_from([False] * 9 + [True]))
    def seconds_pass(self, seconds: float, *, terminated: bool) -> None:
        if terminated:
            self.truth.terminate(self.id)
        self.clock.sleep(seconds)

    @rule()
    def an_hour_passes(self) -> None:
        self.now += timedelta(hours=1)

    @rule(key=tag_keys, value=st.sampled_from([None, "web"]))
    def tag(self, key: str, value: str | None) -> None:
        if value is None:
            self.truth.delete_tags(self.id, {key: None})
        else:
            self.truth.create_tags(self.id, {key: value})

    @rule()
    def untag(self) -> None:
        self.truth.delete_tags(self.id)

    @rule(data=st.data(), no_more=st.booleans())
    def ignore(self, data: st.DataObject, *, no_more: bool) -> None:
        self.truth.delete_tags(self.id, {IGNORE_TAG: None})
        if not no_more:
            self.truth.create_tags(self.id, {IGNORE_TAG: data.draw(ignores(self.now)).text})

    @rule(profile=st.none() | by_hand)
    def another_actor_interferes(self, profile: str | None) -> None:
        there = self.truth.association_of(self.id)
        with IF_EC2_TAKES_IT:
            if profile and there:
                self.truth.replace(there.id, profile)
            elif profile:
                self.truth.associate(self.id, profile)
            elif there:
                self.truth.disassociate(there.id)

    # ---- people: the stack, mappings and pins ----

    @rule(take_over=st.booleans())
    def deploy_anew(self, *, take_over: bool) -> None:
        self.take_over = take_over

    @rule(key=mapping_keys, role=roles, rest=columns)
    def write_row(self, key: MappingKey, role: str, rest: dict[str, Any]) -> None:
        self._publish(PublishedMapping(MappingSpec(key, role, **rest), 0, arn(role)))

    @rule(data=st.data(), role=roles, rest=columns, hours=st.sampled_from([None, None, 0, 1, 2]))
    def edit_row(self, data: st.DataObject, role: str, rest: dict[str, Any], hours: int | None) -> None:
        end: dict[str, Any] = {} if hours is None else {"expires_at": self.now + timedelta(hours=hours)}
        mapping = self._any_row(data)
        spec = replace(mapping.spec, role=role, **rest, **end)
        self._publish(replace(mapping, spec=spec, profile_arn=arn(role)))

    @rule(data=st.data(), meant=st.booleans())
    def delete_row(self, data: st.DataObject, *, meant: bool) -> None:
        mapping = self._any_row(data)
        if meant:
            self._publish(replace(mapping, deleted=True, suspended_because=""))
        else:
            self.rows.pop(mapping.key, None)

    @rule()
    @precondition(lambda self: self.grants)
    def lose_the_record_of_what_gave_its_role(self) -> None:
        for each in self.grants.values():
            self.rows.pop(each.mapping, None)

    @rule(data=st.data(), why=st.sampled_from(["its role is gone", ""]))
    def suspend(self, data: st.DataObject, why: str) -> None:
        mapping = self._any_row(data)
        if mapping.key in self.rows and not mapping.deleted:
            self.rows[mapping.key] = replace(mapping, suspended_because=why)

    @rule(data=st.data(), release=st.booleans())
    def pin_or_release(self, data: st.DataObject, *, release: bool) -> None:
        self.pin = None if release else data.draw(pins(self.now))

    # ---- we ----

    @invariant()
    @precondition(lambda self: self.id)
    def the_laws_hold(self) -> None:
        view, decision = self._decided()
        for law in LAWS:
            law(view, decision)

    @rule()
    def follow_once(self) -> None:
        self._follow(self._decided()[1])

    @rule(lands=st.booleans())
    def ask_and_be_killed(self, *, lands: bool) -> None:
        """The grant is written. The call never left, or takes effect whenever it does."""
        _, decision = self._decided()
        if decision.action.mutates:
            self._grant(decision)
            self.late = decision if lands else None

    @rule()
    @precondition(lambda self: self.late)
    def a_late_call_takes_effect(self) -> None:
        assert self.late
        with IF_EC2_TAKES_IT:
            self._call(self.late)
        self.late = None

    @rule()
    def follow_to_the_end(self) -> None:
        """While nobody changes anything, few steps lead to an end, at most one change (a swap: two), and never back."""
        ends = wanted(self._situation()).carries
        given: list[str] = []
        _, decision = self._decided()
        for _ in range(8):
            self._follow(decision)
            if decision.action.mutates:
                given.append("" if decision.swap else decision.profile_arn)
            elif not decision.polls:
                break
            self.clock.sleep(5)
            _, decision = self._decided()
        assert not decision.action.mutates, "it comes to an end"
        assert not decision.polls
        assert len(given) <= (2 if given[:1] == [""] and given[1:] else 1)
        self.clock.sleep(60)
        view, later = self._decided()
        assert view.carries == ends
        assert (later.action, later.code) == (decision.action, decision.code), "and there it stays"

    def teardown(self) -> None:
        if self.id:
            self.follow_to_the_end()

    # ---- how ----

    def _launch(self, tags: dict[str, str], profile: str | None, operator: str) -> None:
        self.id = self.truth.launch(tags=tags, profile=profile, operator=operator).id
        self.grants, self.late = {}, None

    def _decided(self) -> tuple[View, Decision]:
        view = self._seen()
        untouched = copy.deepcopy(view)
        decision = decided(*view.arguments)
        assert decided(*view.arguments) == decision, "the same is decided of the same"
        assert view == untouched, "what was given to decide is as it was"
        self.reached.add((decision.action.value, decision.code))
        return view, decision

    def _seen(self, *, when_ec2_is_done: bool = False) -> View:
        self.truth.tick()
        there, row = self.truth.association_of(self.id), self.truth.instance(self.id)
        instance = Instance(KEY, InstanceState(row.state), dict(row.tags), row.operator)
        if when_ec2_is_done:
            instance = replace(instance, state=BECOMES.get(instance.state, instance.state))
            there = None if there and there.state == "disassociating" else there
        association = Association(there.id, KEY.id, there.profile_arn, AssociationState(there.state)) if there else None
        grant = self.grants.get(association.profile_arn if association else "")
        candidates = resolve(instance, self.rows.values(), self.now, self.pin)
        gave = grant.mapping if grant else None
        owner = None
        if gave and gave.pins:
            owner = PublishedMapping(MappingSpec(gave, ""), 0, "")
        elif gave and (gave.matches(instance.tags) or not (candidates.winner or candidates.in_conflict)):
            # As it is observed: the mapping of a tag that is gone is read only where nothing else governs.
            owner = self.rows.get(gave)
        lost = gave is not None and not gave.pins and gave not in self.rows
        lost = lost and not (candidates.winner is not None and candidates.winner.key == gave)
        ownership = TAKES_OVER if self.take_over else OWNERSHIP
        return View(instance, association, grant, candidates, owner, ownership, MANAGED, lost)

    def _situation(self) -> Situation:
        view = self._seen(when_ec2_is_done=True)
        return Situation(
            tags=view.instance.tags,
            carries=view.carries,
            mappings=list(self.rows.values()),
            now=self.now,
            grants={each.profile_arn: each.mapping for each in self.grants.values()},
            pin=self.pin,
            state=view.instance.state,
            service=bool(view.instance.managed_by),
            take_over=self.take_over,
            account=KEY.account,
            region=KEY.region,
        )

    def _follow(self, decision: Decision) -> None:
        """Do what was decided, as EC2 takes it, and remember what it was for."""
        if decision.action.mutates:
            self._grant(decision)
            self._call(decision)
        elif decision.action is Action.NOTHING:
            self._rest(decision)

    def _grant(self, decision: Decision) -> None:
        assert decision.mapping
        if decision.code == "unmatched":
            return
        asked = Grant(decision.profile_arn, decision.role, decision.mapping, decision.revision, self.now)
        self.grants[decision.profile_arn] = asked
        if decision.profile_arn:
            self.grants.pop("", None)

    def _call(self, decision: Decision) -> None:
        if decision.action is Action.ATTACH:
            self.truth.associate(self.id, decision.profile_arn)
        elif decision.action is Action.REPLACE and not decision.swap:
            self.truth.replace(decision.association_id, decision.profile_arn)
        else:
            self.truth.disassociate(decision.association_id)

    def _rest(self, decision: Decision) -> None:
        there = self.truth.association_of(self.id)
        if there or decision.code == "unmatched":
            self.grants.pop("", None)
        grant = self.grants.get(there.profile_arn if there else "")
        if grant and decision.code == "converged" and decision.mapping:
            # Another mapping may stand for the same role by now.
            moved = replace(grant, mapping=decision.mapping, revision=decision.revision)
            self.grants[grant.profile_arn] = moved

    def _publish(self, mapping: PublishedMapping) -> None:
        former = self.written.get(mapping.key)
        made = replace(mapping, revision=former.revision + 1 if former else 1)
        self.rows[mapping.key] = self.written[mapping.key] = made

    def _any_row(self, data: st.DataObject) -> PublishedMapping:
        """One that was ever written, as it was then: its published record may be lost. Often what gave the role."""
        gave = [each.mapping for each in self.grants.values() if not each.mapping.pins]
        return self.written[data.draw(st.sampled_from(sorted(self.written) + 2 * gave))]


def _profile(profile_arn: str) -> Profile:
    name = profile_arn.rsplit("/", 1)[-1]
    return Profile(
        name=name, arn=profile_arn, id=f"AIPA{name.upper()}", roles=(f"arn:aws:iam::123456789012:role/{name}",)
    )


def test_whatever_happens_to_an_instance_what_is_decided_keeps_the_laws_and_comes_to_an_end() -> None:
    OneInstance.reached.clear()
    run_state_machine_as_test(OneInstance, settings=at_most(2000, 30))
    assert OneInstance.reached >= FROM_DECIDE, "each kind of decision was met"
