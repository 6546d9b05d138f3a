"""The composition root: functions, command, simulation and tests have everything built here, from the same parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from rolekeeper import fleet, mappings, permissions
from rolekeeper.aws import Each, Ec2, Iam, Machine, Tasks, WorkQueue, in_threads
from rolekeeper.aws.errors import AccessDeniedError, PermanentError
from rolekeeper.aws.queue import Task
from rolekeeper.instances.observe import checked_pin
from rolekeeper.instances.reconcile import WORK, ChangeBudget, Pace, Reconciler
from rolekeeper.instances.records import Outcome, Recorder
from rolekeeper.instances.retry import RetryLoop
from rolekeeper.instances.window import ChangeLimiter
from rolekeeper.mail import Mailer
from rolekeeper.model.instance import InstanceKey, ReconcileRequest, Target
from rolekeeper.settings import Settings
from rolekeeper.storage import State, Store, layout
from rolekeeper.telemetry import Telemetry

if TYPE_CHECKING:
    # The functions bring them; the command line is installed without Powertools.
    from aws_lambda_powertools import Logger, Metrics

utc_now = partial(datetime.now, UTC)
# How long a run that publishes mappings sends their instances itself, beside judging rows.
FANS_OUT = timedelta(minutes=2)


@dataclass(frozen=True)
class App:
    """One deployment's parts, made for each invocation: they cache what they read. `each` asks several targets at once.

    `client` returns the client of a service, by its boto3 name; `client_of` one in another target, by its settings, and
    `forget` ends the sessions there. `kept` outlives the invocation. `hub` is None in the deployment's own target; in
    another target instances and roles are the target's, and everything else is the hub's.
    """

    settings: Settings
    client: Callable[[str], Any]
    _: KW_ONLY
    logger: Logger | None = None
    metrics: Metrics | None = None
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep
    client_of: Callable[[Settings, str], Any] | None = None
    forget: Callable[[Settings], object] = lambda _: None
    kept: dict[str, Any] = field(default_factory=dict)
    hub: App | None = None
    each: Each = in_threads

    def at(self, target: Target) -> App:
        """The parts of a target; one that can't be reached raises when it is first asked."""
        hub = self.hub or self
        return hub if target == hub.settings.target else replace(hub, settings=hub.settings.at(target), hub=hub)

    def _there(self, service: str) -> Any:
        """A client in the target; in the deployment's own it has the functions' permissions."""
        if self.hub is None:
            return self.client(service)
        if self.client_of is None:
            raise PermanentError(
                "NoOrganization", f"the deployment is of none, and has no clients in {self.settings.target}"
            )
        return self.client_of(self.settings, service)

    @cached_property
    def ec2(self) -> Ec2:
        return Ec2(self._there("ec2"), self.settings.account, self.settings.region)

    @cached_property
    def iam(self) -> Iam:
        return Iam(self._there("iam"), self.settings.account, self.settings.partition)

    @cached_property
    def queue(self) -> WorkQueue:
        return WorkQueue(self.client("sqs"), self.settings.work_queue_url, self.now)

    @cached_property
    def machine(self) -> Machine:
        return Machine(lambda: self.client("stepfunctions"), self.settings.resume_state_machine_arn)

    @cached_property
    def accounts_machine(self) -> Machine:
        return Machine(lambda: self.client("stepfunctions"), self.settings.accounts_state_machine_arn)

    @cached_property
    def table(self) -> mappings.table.MappingTable:
        return mappings.table.MappingTable(self.client("dynamodb"), self.settings.mapping_table, self.sleep)

    @cached_property
    def store(self) -> Store:
        return Store(self.client("dynamodb"), self.settings.state_table, self.settings.history_days, sleep=self.sleep)

    @cached_property
    def state(self) -> State:
        return State(
            self.store,
            self.settings.account,
            lambda pin: checked_pin(pin, self.roles, self.now()),
            target=self.settings.target if self.hub else None,
            waits_for_sweep=self.hub is not None and self.settings.account != self.hub.settings.account,
        )

    @cached_property
    def roles(self) -> permissions.roles.Roles:
        return permissions.roles.Roles(permissions.policies.PolicyReader(self.iam), self.settings)

    @cached_property
    def revisions(self) -> mappings.revisions.Revisions:
        return mappings.revisions.Revisions(self.store, (self.hub or self).settings.account)

    @cached_property
    def registry(self) -> fleet.targets.Registry:
        return fleet.targets.Registry(self.store, self.kept.setdefault("targets", {}))

    @cached_property
    def telemetry(self) -> Telemetry:
        """Logs, metrics, events and mails; `flush` it at the end of an invocation."""
        if self.hub:
            return self.hub.telemetry
        if not (self.logger and self.metrics):
            raise TypeError("these parts only read: they have no logger and no metrics")
        where = f"account {self.settings.account}, {self.settings.region}"
        mailer = Mailer(lambda: self.client("sns"), self.settings.alarm_topic, where, now=self.now)
        return Telemetry(
            self.client("events"),
            self.logger,
            self.metrics,
            mailer=mailer,
            client_at=lambda target: self.at(target)._there("events"),  # noqa: SLF001  # its own
            notifies_until=self.now() + WORK,
        )

    def reconcile(self, requests: Iterable[ReconcileRequest]) -> dict[InstanceKey, Outcome]:
        return self.reconciler().run(requests) if self.settings.sole_target else self.targets.reconcile(requests)

    @cached_property
    def targets(self) -> fleet.targets.Targets:
        return fleet.targets.Targets(
            home=self.settings.target,
            registry=self.registry,
            tasks=self.tasks,
            machine=self.accounts_machine,
            telemetry=self.telemetry,
            now=self.now,
            ends_by=self.now() + WORK,
            left_alone=self.kept.setdefault("left alone", {}),
            reconcile_at=lambda target, requests, batch: self.at(target).reconciler().run(requests, batch),
            probe_at=lambda target: self.at(target).probe(),
            each=self.each,
        )

    def probe(self) -> fleet.targets.Probed:
        probed = fleet.targets.probe(self.settings, self.ec2, self.iam)
        # The hub's own target has no unit, and an account is in the same unit in all its Regions.
        return replace(probed, unit="") if self.settings.account == (self.hub or self).settings.account else probed

    def reconciler(self, *, in_loop: bool = False) -> Reconciler:
        """The reconciler; inside a retry loop it starts no other loop, and changes nothing itself."""
        settings = self.settings
        machine = settings.retry_state_machine_arn
        loops = None if in_loop else RetryLoop(self.client("stepfunctions"), machine, settings.retry_timeout_minutes)
        recorder = Recorder(
            state=self.state,
            telemetry=self.telemetry,
            contention=settings.contention,
            retries=loops,
            now=self.now,
            is_news=partial(self._is_news, noting=not in_loop),
        )
        return Reconciler(
            ec2=self.ec2,
            state=self.state,
            settings=settings,
            queue=self.queue,
            budget=None if in_loop else self._budget(),
            recorder=recorder,
            now=self.now,
            sleep=self.sleep,
        )

    def _is_news(self, error: AccessDeniedError, *, noting: bool) -> bool:
        """Whether a refusal hasn't been reported yet. Another target is next asked with new sessions."""
        if self.hub is None:
            return True
        self.forget(self.settings)
        return noting and self.hub.targets.is_news(self.settings.target, error)

    def _budget(self) -> ChangeBudget:
        settings = self.settings
        pace = f"pace {settings.target}"  # EC2's rate is for each account and Region
        if pace not in self.kept:
            self.kept[pace] = Pace(settings.changes_per_second / settings.workers, self.now())
        size = layout.target_key(settings.target) if self.hub else layout.FLEET
        keys = layout.window_keys(settings.target, size)
        return ChangeBudget(ChangeLimiter(self.store, settings.limits, settings.target, keys=keys), self.kept[pace])

    @property
    def home(self) -> mappings.rows.HomeAccount:
        return mappings.rows.HomeAccount(self.settings.account, self.settings.partition)

    def scanner(self, state: State | None = None) -> mappings.impact.ImpactScanner:
        """What scans this target's instances; `state` is what a `plan` would leave."""
        return mappings.impact.ImpactScanner(
            ec2=self.ec2,
            state=state or self.state,
            table=self.table,
            limits=self.settings.limits,
            ownership=self.settings.ownership,
        )

    @cached_property
    def mapped(self) -> mappings.accounts.MappedTargets:
        """The targets that mappings govern, including the deployment's own."""
        # IAM is the account's, whatever the Region.
        roles = {self.settings.account: self.roles}

        def mapped(target: Target) -> mappings.accounts.MappedTarget:
            there = self.at(target)
            known = roles.setdefault(target.account, there.roles)
            return mappings.accounts.MappedTarget(target, known, there.scanner())

        def listed() -> list[mappings.accounts.MappedTarget]:
            return [_as_served(mapped(served.target), served) for served in self.registered()]

        return mappings.accounts.MappedTargets(mapped(self.settings.target), listed, mapped, each=self.each)

    def registered(self) -> list[fleet.targets.ServedTarget]:
        """The other targets; without an organization there are none."""
        return self.registry.all() if self.settings.organization else []

    @cached_property
    def sender(self) -> mappings.fan_out.Sender:
        return mappings.fan_out.Sender(
            home=self.settings.target,
            ec2_in=lambda target: self.at(target).ec2,
            queue=self.queue,
            telemetry=self.telemetry,
            each=self.each,
        )

    @cached_property
    def publisher(self) -> mappings.publish.Publisher:
        """The hub's own, in other targets too: it caches what it read of the accounts."""
        if self.hub:
            return self.hub.publisher
        assessor = mappings.assess.Assessor(self.mapped, self.revisions, self.settings.mode)
        return mappings.publish.Publisher(
            home=self.home,
            table=self.table,
            revisions=self.revisions,
            assessor=assessor,
            sender=self.sender,
            machine=self.machine,
            accounts_machine=self.accounts_machine,
            findings=mappings.findings.Findings(self.store),
            accounts=mappings.account_records.AccountRecords(
                self.revisions, assessor, self.sender, telemetry=self.telemetry, now=self.now
            ),
            telemetry=self.telemetry,
            now=self.now,
            hands_over_at=self.now() + FANS_OUT,
        )

    def judge(self, judging: Mapping[str, Any], account: str, in_time: Callable[[], bool]) -> None:
        """Ask an account what judging a row asks there."""
        there = self._publisher_in(self.registry.all(account))
        there.judge_in(layout.decode(mappings.publish.Judging, judging), account, in_time)

    def judged(self, judging: Mapping[str, Any]) -> mappings.verdict.Verdict:
        """Judge a row by what its accounts answered."""
        return self.publisher.judged(layout.decode(mappings.publish.Judging, judging))

    def _publisher_in(self, served: Iterable[fleet.targets.ServedTarget]) -> mappings.publish.Publisher:
        """One that knows an account's targets alone, beside the deployment's own."""
        hub = self.hub or self
        mapped = hub.mapped
        of_account = [_as_served(mapped.at(each.target), each) for each in served]
        targets = replace(mapped, listed=lambda: of_account)
        assessor = replace(hub.publisher.assessor, targets=targets)
        return replace(hub.publisher, assessor=assessor, accounts=replace(hub.publisher.accounts, assessor=assessor))

    @cached_property
    def overrides(self) -> fleet.overrides.OperatorOverrides:
        return fleet.overrides.OperatorOverrides(
            state=self.state,
            queue=self.queue,
            tasks=self.tasks,
            telemetry=self.telemetry,
            mode=self.settings.mode,
            now=self.now,
        )

    @property
    def tasks(self) -> Tasks:
        return Tasks(self.client("lambda"), self.settings.sweep_function)

    def sweep(
        self, correlation_id: str, seconds_left: Callable[[], float], run_id: str, event: Mapping[str, Any]
    ) -> fleet.sweep.Sweep:
        """A run of a sweep. `event` is the last run's answer, or the schedule's, whose sweep gives way to another."""
        served = self.registry.all(self.settings.account) if self.hub else []
        return fleet.sweep.Sweep(
            other=self._other_target(served) if self.hub else None,
            ec2=self.ec2,
            state=self.state,
            table=self.table,
            publisher=self._publisher_in(served) if self.hub else self.publisher,
            queue=self.queue,
            machine=self.machine,
            telemetry=self.telemetry,
            settings=self.settings,
            now=self.now,
            correlation_id=correlation_id,
            seconds_left=seconds_left,
            run_id=run_id,
            resumed="rest" in event,
            gives_way=event.get("task") != Task.SWEEP,
            result=layout.decode(fleet.sweep.SweepResult, event),
        )

    def _other_target(self, served: Sequence[fleet.targets.ServedTarget]) -> fleet.sweep.OtherTarget:
        return fleet.sweep.OtherTarget(
            target=self.settings.target,
            of_account=served,
            registry=self.registry,
            telemetry=self.telemetry,
            now=self.now,
            is_news=partial(self._is_news, noting=True),
            probe=self.probe,
            waits_for_sweep=self.state.waits_for_sweep,
        )

    def expiries(self, correlation_id: str, *, waits: bool) -> fleet.expiry.Expiries:
        return fleet.expiry.Expiries(
            ec2=self.ec2,
            state=self.state,
            publisher=self.publisher,
            queue=self.queue,
            telemetry=self.telemetry,
            correlation_id=correlation_id,
            now=self.now,
            waits=waits,
            sleep=self.sleep,
        )


def _as_served(
    one: mappings.accounts.MappedTarget, served: fleet.targets.ServedTarget
) -> mappings.accounts.MappedTarget:
    """A target with what the registry knows of it."""
    return replace(one, instances=served.instances, unit=served.unit, swept=served.last_sweep is not None)
