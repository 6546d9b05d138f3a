"""Having each account of a row asked by a run of its own: one run hasn't the time to ask hundreds.

The accounts machine makes these runs. Each keeps what its account answered, and a last one judges the row by that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rolekeeper.aws.errors import RetryableError
from rolekeeper.aws.queue import Task, digest
from rolekeeper.mappings.assess import Assessor, in_progress_verdict
from rolekeeper.mappings.findings import Findings
from rolekeeper.mappings.fold import Answers
from rolekeeper.mappings.job_batches import JobBatches
from rolekeeper.mappings.rows import HomeAccount, read_row
from rolekeeper.mappings.snapshot import RowSnapshot, Trigger
from rolekeeper.mappings.table import MappingTable
from rolekeeper.mappings.verdict import Verdict
from rolekeeper.model.mapping import MappingKey
from rolekeeper.model.problem import NAMED
from rolekeeper.storage import layout
from rolekeeper.telemetry import Telemetry

# The most other targets that a run asks to judge a row.
ASKED = 20
# How often the accounts are asked about a row before that is left to the stream or the sweep.
ATTEMPTS = 3
# How long what was found in an account holds: instances, tags and roles change meanwhile.
FRESH = timedelta(minutes=20)


@dataclass(frozen=True, slots=True)
class AssessmentJob:
    """A row that is judged by several runs: why, the `stamp` of what is asked, and the `run` that has the answers.

    `attempt` counts how often it was begun anew.
    """

    key: MappingKey
    trigger: Trigger
    stamp: str
    run: str
    begun: datetime
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """Accounts that have yet to answer, and the verdict until then; `attempt` is the one to start, if one is."""

    verdict: Verdict
    accounts: Sequence[str] = ()
    attempt: int | None = None


@dataclass(frozen=True)
class AccountRuns:
    """Starts these runs, and is each of them."""

    home: HomeAccount
    table: MappingTable
    assessor: Assessor
    batches: JobBatches
    findings: Findings
    telemetry: Telemetry
    now: Callable[[], datetime]

    def ask(self, batch: str, account: str, in_time: Callable[[], bool]) -> None:
        """Ask an account what judging a batch's rows asks there, and keep the answers; it is one of the targets alone.

        The rows for which no time is left get no answer.
        """
        for job in self.jobs(batch, account):
            stored, row = self.assessor.revisions.read(job.key, account), self.table.get_row(job.key) or {}
            parsed = read_row(row, self.home)
            snapshot = RowSnapshot(job.key, row, parsed, stored=stored, at=self.now(), trigger=job.trigger)
            if snapshot.stamp() == job.stamp:
                self.findings.write(job.run, account, self.assessor.judge_in(snapshot, account, in_time), snapshot.at)
            if not in_time():
                break

    def jobs(self, batch: str, account: str = "") -> list[AssessmentJob]:
        """Return the rows of a batch in their order, or those about which an account is asked."""
        jobs = (job for job, accounts in self.batches.jobs(batch) if not account or account in accounts)
        return sorted((layout.decode(AssessmentJob, job) for job in jobs), key=lambda job: job.key)

    def are_needed(self, snapshot: RowSnapshot) -> bool:
        return len(self.assessor.targets_to_ask(snapshot)) > ASKED

    def answers(self, snapshot: RowSnapshot, job: AssessmentJob | None, found: Answers) -> Answers | Pending | None:
        """Return what the accounts that judging a row asks answered, if they are many; of few nothing is known yet."""
        if not self.are_needed(snapshot):
            return None
        accounts = sorted({one.target.account for one in self.assessor.targets_to_ask(snapshot)})
        verdict = in_progress_verdict(snapshot, accounts)
        if job and job.stamp != snapshot.stamp():
            # Another edit, which has others asked.
            return Pending(verdict)
        outdated = self._outdated(snapshot, job, found, accounts=accounts)
        silent = [account for account in accounts if account not in found]
        if job and not outdated and (job.attempt or not silent):
            if len(silent) == len(accounts):
                raise RetryableError("NoFindings", "no account's run came to its end", "lambda:InvokeFunction")
            return found
        attempt = job.attempt + 1 if job else 0
        if attempt == ATTEMPTS:
            text = "what is published of a mapping keeps changing while it is judged"
            self.telemetry.will_retry(text, mapping=str(snapshot.key), accounts=outdated[:NAMED])
            return Pending(verdict)
        return Pending(verdict, accounts, attempt)

    def _outdated(
        self, snapshot: RowSnapshot, job: AssessmentJob | None, found: Answers, *, accounts: Sequence[str]
    ) -> Sequence[str]:
        """Return the accounts that were asked something else, or too long ago."""
        if job and snapshot.at - job.begun > FRESH:
            return accounts
        if snapshot.is_published and snapshot.stored.unsent:
            # A publication that was cut off changed what is published; the answers that led to it finish it.
            return []
        return [account for account, answer in found.items() if answer.stamp != snapshot.stamp(account)]

    def start(self, snapshot: RowSnapshot, accounts: Sequence[str], attempt: int) -> None:
        """Have a run for each account ask there, and then one judge the row, with the others of its batch."""
        trigger, stamp = replace(snapshot.trigger, scan=None), snapshot.stamp()
        # Two timers of a mapping may ring in one minute, of which one ends it.
        run = digest(f"{trigger.correlation_id} {snapshot.key} {stamp} {attempt} {trigger.ended}")
        job = AssessmentJob(snapshot.key, trigger, stamp, run=run, begun=snapshot.at, attempt=attempt)
        self.batches.add(Task.JUDGE, run, layout.encode(job), accounts=accounts, then=Task.JUDGED)
