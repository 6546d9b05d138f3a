"""The composition root: functions, command, simulation and tests have everything built here, from the same parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

from rolekeeper import fleet, mappings, permissions
from rolekeeper.aws import Alarms, Ec2, Iam, Machine, MapConcurrently, Tasks, WorkQueue, in_threads
from rolekeeper.aws.errors import AccessDeniedError, PermanentError
from rolekeeper.aws.queue import Task
from rolekeeper.instances.observe import checked_pin
from rolekeeper.instances.pace import Pace
from rolekeeper.instances.reconcile import WORK, Reconciler
from rolekeeper.instances.records import Recorder
from rolekeeper.instances.retry import RetryLoop
from rolekeeper.instances.window import ChangeLimiter
from rolekeeper.mail import Mailer
from rolekeeper.model.instance import Target
from rolekeeper.settings import Settings
from rolekeeper.storage import State, Store, layout
from rolekeeper.telemetry import Telemetry

if TYPE_CHECKING:
    # The functions bring them; the command line is installed without Powertools.
    from aws_lambda_powertools import Logger, Metrics

utc_now = partial(datetime.now, UTC)
# How long a run that publishes mappings sends their instances itself, beside judging rows.
FANS_OUT = timedelta(minutes=2)


def no_client(settings: Settings, _service: str) -> Any:
    """Refuse a client in another target."""
    raise PermanentError("NoOrganization", f"the deployment is of none, and has no clients in {settings.target}")


class shared[Part](cached_property[Part]):  # noqa: N801  # used as cached_property is
    """A part that all targets of a deployment share: it is made once, with the deployment's own target."""

    def __get__(self, app: App, owner: type | None = None) -> Part:  # type: ignore[override]  # only of an App
        return super().__get__(app.at(), owner)


@dataclass(frozen=True)
class App:
    """One target's parts, made for each invocation: they cache what they read. `each` asks several targets at once.

    Instances and roles are the target's, everything else is the deployment's. `client` returns a client of the
    deployment's, by the service's boto3 name; `client_in_target` one in the target, unless that is the deployment's
    own: `client_of` makes it, by the target's settings, and `forget` ends the sessions there. `hub` has the parts of
    the deployment's own target; None if these are they. `kept` outlives the invocation.
    """

    settings: Settings
    client: Callable[[str], Any]
    _: KW_ONLY
    logger: Logger | None = None
    metrics: Metrics | None = None
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep
    client_of: Callable[[Settings, str], Any] = no_client
    forget: Callable[[Settings], object] = lambda _: None
    kept: dict[str, Any] = field(default_factory=dict)
    client_in_target: Callable[[str], Any] | None = None
    hub: App | None = None
    map_concurrently: MapConcurrently = in_threads

    def at(self, target: Target | None = None) -> App:
        """Return a target's parts, by default the deployment's own; one out of reach raises when it is asked."""
        hub = self.hub or self
        if target is None or target == hub.settings.target:
            return hub
        settings = hub.settings.at(target)
        return replace(hub, settings=settings, client_in_target=partial(hub.client_of, settings), hub=hub)

    def _in_target(self, service: str) -> Any:
        """Return a client in the target; in the deployment's own it has the functions' permissions."""
        return (self.client_in_target or self.client)(service)

    @cached_property
    def ec2(self) -> Ec2:
        return Ec2(self._in_target("ec2"), self.settings.account, self.settings.region)

    @cached_property
    def iam(self) -> Iam:
        return Iam(self._in_target("iam"), self.settings.account, self.settings.partition)

    @shared
    def queue(self) -> WorkQueue:
        return WorkQueue(self.client("sqs"), self.settings.work_queue_url, self.now)

    @shared
    def machine(self) -> Machine:
        return Machine(lambda: self.client("stepfunctions"), self.settings.resume_state_machine_arn)

    @shared
    def batches(self) -> mappings.job_batches.JobBatches:
        machine = Machine(lambda: self.client("stepfunctions"), self.settings.accounts_state_machine_arn)
        return mappings.job_batches.JobBatches(self.store, machine, self.now)

    @shared
    def table(self) -> mappings.table.MappingTable:
        return mappings.table.MappingTable(self.client("dynamodb"), self.settings.mapping_table, self.sleep)

    @shared
    def store(self) -> Store:
        return Store(self.client("dynamodb"), self.settings.state_table, self.settings.history_days, sleep=self.sleep)

    @cached_property
    def state(self) -> State:
        return State(
            self.store,
            self.settings.target,
            home=self.at().settings.target,
            check_pin=lambda pin: checked_pin(pin, self.roles, self.now()),
        )

    @cached_property
    def roles(self) -> permissions.roles.Roles:
        return permissions.roles.Roles(permissions.comparison.PolicyReader(self.iam), self.settings)

    @shared
    def revisions(self) -> mappings.revisions.Revisions:
        return mappings.revisions.Revisions(self.store, self.settings.account)

    @shared
    def registry(self) -> fleet.targets.Registry:
        noted, is_hub = self.kept.setdefault("targets", {}), bool(self.settings.organization)
        return fleet.targets.Registry(self.store, self.settings.target, is_hub=is_hub, noted=noted)

    @shared
    def telemetry(self) -> Telemetry:
        """Logs, metrics, events and mails; `flush` it at the end of an invocation."""
        if not (self.logger and self.metrics):
            raise TypeError("these parts only read: they have no logger and no metrics")
        where = f"account {self.settings.account}, {self.settings.region}"
        mailer = Mailer(lambda: self.client("sns"), self.settings.alarm_topic, where, now=self.now)
        return Telemetry(
            self.client("events"),
            self.logger,
            self.metrics,
            mailer=mailer,
            client_at=lambda target: self.at(target)._in_target("events"),  # noqa: SLF001  # its own
            notifies_until=self.now() + WORK,
        )

    @shared
    def targets(self) -> fleet.targets.Targets:
        return fleet.targets.Targets(
            home=self.settings.target,
            registry=self.registry,
            tasks=self.tasks,
            machine=self.batches.machine,
            telemetry=self.telemetry,
            now=self.now,
            ends_by=self.now() + WORK,
            left_alone=self.kept.setdefault("left alone", {}),
            reconcile_at=lambda target, requests, batch: self.at(target).reconciler().run(requests, batch),
            probe_at=lambda target: self.at(target).probe(),
            map_concurrently=self.map_concurrently,
        )

    def probe(self) -> fleet.targets.Probed:
        return fleet.targets.probe(self.settings, self.ec2, self.iam, home=self.at().settings.target)

    def reconciler(self, *, in_loop: bool = False) -> Reconciler:
        """Return the reconciler; inside a retry loop it starts no other loop, and changes nothing itself."""
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
            window=None if in_loop else ChangeLimiter(self.store, settings.limits, settings.target),
            pace=Pace(self.store, settings.target, settings.changes_per_second),
            recorder=recorder,
            now=self.now,
            sleep=self.sleep,
        )

    def _is_news(self, error: AccessDeniedError, *, noting: bool) -> bool:
        """Return whether a refusal hasn't been reported yet. The target is next asked with new sessions."""
        self.forget(self.settings)
        return self.targets.is_news(self.settings.target, error, noting=noting)

    @property
    def home(self) -> mappings.rows.HomeAccount:
        return mappings.rows.HomeAccount(self.settings.account, self.settings.partition)

    def scanner(self) -> mappings.impact.ImpactScanner:
        return mappings.impact.ImpactScanner(
            ec2=self.ec2,
            state=self.state,
            table=self.table,
            limits=self.settings.limits,
            ownership=self.settings.ownership,
        )

    @shared
    def mapped(self) -> mappings.accounts.AllTargets:
        """The targets that mappings govern, including the deployment's own."""
        # IAM is the account's, whatever the Region.
        roles = {self.settings.account: self.roles}

        def mapped(target: Target) -> mappings.accounts.TargetScope:
            there = self.at(target)
            known = roles.setdefault(target.account, there.roles)
            return mappings.accounts.TargetScope(target, known, there.scanner())

        def listed() -> list[mappings.accounts.TargetScope]:
            return [_as_served(mapped(served.target), served) for served in self.registry.others()]

        return mappings.accounts.AllTargets(
            mapped(self.settings.target), listed, mapped, map_concurrently=self.map_concurrently
        )

    @shared
    def sender(self) -> mappings.fan_out.Sender:
        return mappings.fan_out.Sender(
            home=self.settings.target,
            ec2_in=lambda target: self.at(target).ec2,
            queue=self.queue,
            telemetry=self.telemetry,
            map_concurrently=self.map_concurrently,
            machine=self.machine,
            batches=self.batches,
            now=self.now,
            hands_over_at=self.now() + FANS_OUT,
        )

    @shared
    def publisher(self) -> mappings.publish.Publisher:
        """The deployment's own, in each target: it caches what it read of the accounts."""
        assessor = mappings.assess.Assessor(self.mapped, self.revisions, self.settings.mode)
        return mappings.publish.Publisher(
            home=self.home,
            table=self.table,
            revisions=self.revisions,
            assessor=assessor,
            sender=self.sender,
            runs=self._runs(assessor),
            accounts=mappings.account_records.AccountRecords(assessor, self.telemetry),
            telemetry=self.telemetry,
            now=self.now,
        )

    def _runs(self, assessor: mappings.assess.Assessor) -> mappings.account_runs.AccountRuns:
        return mappings.account_runs.AccountRuns(
            home=self.home,
            table=self.table,
            assessor=assessor,
            batches=self.batches,
            findings=mappings.findings.Findings(self.store),
            telemetry=self.telemetry,
            now=self.now,
        )

    def ask_account(self, batch: str, account: str, in_time: Callable[[], bool]) -> None:
        """Ask an account what judging a batch's rows asks there."""
        self._runs(self._assessor_in(lambda: self.registry.all(account))).ask(batch, account, in_time)

    def _assessor_in(self, served: Callable[[], Iterable[fleet.targets.ServedTarget]]) -> mappings.assess.Assessor:
        """Return one that knows an account's targets alone, beside the deployment's own."""
        mapped, assessor = self.mapped, self.publisher.assessor
        targets = replace(mapped, listed=lambda: [_as_served(mapped.at(one.target), one) for one in served()])
        return replace(assessor, targets=targets)

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
        """Make a sweep's run. `event` is the last run's answer, or the schedule's, whose sweep gives way."""
        target = self.settings.target
        thorough = cache(lambda: fleet.targets.is_due_for_all(target, self.registered, self.now()))
        return fleet.sweep.Sweep(
            targets=self.targets,
            registered=lambda: next((served for served in self.registered if served.target == target), None),
            is_news=partial(self._is_news, noting=True),
            checks=self.publisher if self is self.at() else self.record_checks(thorough),
            thorough=thorough,
            ec2=self.ec2,
            state=self.state,
            queue=self.queue,
            machine=self.machine,
            settings=self.settings,
            correlation_id=correlation_id,
            seconds_left=seconds_left,
            run_id=run_id,
            resumed="rest" in event,
            gives_way=event.get("task") != Task.SWEEP,
            result=layout.decode(fleet.sweep.SweepResult, event),
        )

    @cached_property
    def registered(self) -> list[fleet.targets.ServedTarget]:
        """The registered targets of the target's account."""
        return self.registry.all(self.settings.account)

    def record_checks(self, thorough: Callable[[], bool] = lambda: True) -> mappings.account_records.RecordChecks:
        """Return the checks of what is published for the target's account."""
        assessor = self._assessor_in(lambda: self.registered)
        return mappings.account_records.RecordChecks(
            target=self.settings.target,
            thorough=thorough,
            records=mappings.account_records.AccountRecords(assessor, self.telemetry),
            assessor=assessor,
            sender=self.sender,
            now=self.now,
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
            rollouts=self._rollouts,
        )

    def _rollouts(self) -> mappings.waves.Rollouts:
        alarms = Alarms(lambda: self.client("cloudwatch"))
        by_default = frozenset(filter(None, map(str.strip, self.settings.halt_on.split(","))))
        return mappings.waves.Rollouts(self.publisher, alarms, by_default)


def _as_served(one: mappings.accounts.TargetScope, served: fleet.targets.ServedTarget) -> mappings.accounts.TargetScope:
    """Return a target with what the registry knows of it."""
    return replace(one, instances=served.instances, unit=served.unit, swept=served.last_sweep is not None)
