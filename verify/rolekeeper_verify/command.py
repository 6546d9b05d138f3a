"""`rolekeeper verify`: proof in one's own AWS account, and nothing left behind."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rolekeeper_cli.doctor.view import FindingsView
from rolekeeper_cli.errors import ExitCode, UsageError
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import yes
from rolekeeper_cli.shell.command import command, deployment, prints
from rolekeeper_cli.shell.layout import Column, Layout, amount
from rolekeeper_verify.view import Outcome, Probe, Report, Step, VerificationsView

with lazily():
    from rolekeeper_cli.doctor import command as doctor
    from rolekeeper_cli.shell import tables
    from rolekeeper_verify import machine as verify_machine
    from rolekeeper_verify import names as verify_names
    from rolekeeper_verify import preflight, removal, run
    from rolekeeper_verify import report as verify_report
    from rolekeeper_verify import scene as verify_scene
    from rolekeeper_verify import sweep as verify_sweep

if TYPE_CHECKING:
    from rolekeeper_cli.aws.deployment import Deployment


@prints(ExitCode.UNPROVEN, report=Report, findings=FindingsView, verifications=VerificationsView)
@command(
    "verify",
    "rolekeeper verify --pre",
    "rolekeeper verify",
    "rolekeeper verify --yes --region eu-west-1 --report reports --output json",
    "rolekeeper verify --sweep",
)
@click.option("--pre", is_flag=True, help="Check what it needs, and change nothing.")
@click.option("--sweep", is_flag=True, help="Remove what an earlier verification left.")
@click.option("--id", "id_", metavar="ID", help="With --sweep: of this verification alone.")
@click.option("--instance-type", metavar="TYPE", help="The type of both instances. Default: the smallest here.")
@click.option("--subnet", metavar="ID", help="Where they are launched. Default: a default subnet.")
@click.option("--ami", metavar="ID", help="What they are launched from. Default: Amazon Linux.")
@click.option(
    "--patience",
    type=click.FloatRange(1, 1800),
    default=180,
    show_default=True,
    metavar="SECONDS",
    help="How long each answer of EC2 may take; a burst of tag changes may need 120.",
)
@click.option(
    "--trail-patience",
    type=click.FloatRange(0, 1800),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for CloudTrail's records at the end, which may take 15 minutes. 0 doesn't wait.",
)
@click.option(
    "--report",
    "folder",
    type=click.Path(file_okay=False, writable=True, path_type=Path),
    default=".",
    help="The folder for the report's three files. Default: the current one.",
)
@yes
def verify(
    *,
    pre: bool,
    sweep: bool,
    id_: str | None,
    folder: Path,
    patience: float,
    trail_patience: float,
    yes: bool,
    **machine: Any,
) -> ExitCode:
    """Prove this version in your own account, then clean up.

    It deploys this very version under another name and another path, launches two instances, and checks each step
    against EC2's own answer: a production deployment, its tables and its roles aren't touched. At the end it removes
    everything, and proves that. It takes about twenty minutes, half of them for CloudTrail's records. See
    docs/verify.md.

    Exits with 1 if a step failed, or if anything is left, and else with 5 if a step couldn't be tried: what it proves
    isn't proven then.
    """
    if pre and sweep:
        raise UsageError("--pre and --sweep are different things", "give one of them")
    if id_ and not sweep:
        raise UsageError("--id is for --sweep", "give both, or neither")
    there, wanted = deployment(), verify_machine.Wanted(**machine)
    # It proves what AWS answers, and its report has that.
    there.take_whole_answers()
    if pre:
        return doctor.show(preflight.preflight(there, wanted), preflight.checks(wanted))
    terminal.require_answer(yes=yes)
    if sweep:
        return verify_sweep.swept(there, id_, yes=yes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} can't be made: {error.strerror}", "name another folder: --report") from error
    chosen = verify_machine.resolve(there, wanted)
    return _prove(there, chosen, folder, yes=yes, patience=patience, trail_patience=trail_patience)


def _prove(
    caller: Deployment, machine: verify_machine.Machine, folder: Path, *, yes: bool, **patience: float
) -> ExitCode:
    names, shown = verify_names.Names.new(), _Shown(patience["trail_patience"])
    terminal.say(_announcement(caller, names, machine))
    terminal.confirm("Begin?", yes=yes)
    verification = run.Verification(
        caller, names, begins=shown.begins, ended=shown.ended, removed=verify_sweep.show, **patience
    )
    # A pipeline that ends it has everything removed too, and so has Ctrl-C, which a shell's background job ignores.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        verification.run(machine)
    finally:
        shown.close()
        verify_sweep.untouched(verification.untouched)
        report = verification.report
        files = verify_report.write(report, folder)
        terminal.say(f"Report: {', '.join(map(str, files))}")
    return _end(report)


def _announcement(caller: Deployment, names: verify_names.Names, machine: verify_machine.Machine) -> str:
    """What it will make, what that costs, how long it takes, and how it goes away."""
    minutes = removal.LONGEST.total_seconds() / 60
    return (
        f"Verification {names.id} in {caller.region}, account {caller.caller.account}. It makes\n"
        f"- the stack {names.stack}: this version, which may give the roles under {names.role_path} alone\n"
        f"- the stack {names.scene}: three roles (one may list Regions), a security group, a queue for EC2's events, "
        "an alarm\n"
        f"- two instances of type {machine.instance_type}, which end themselves {verify_scene.LIVES_MINUTES} minutes "
        "after each start; one of them calls sts:GetCallerIdentity and ec2:DescribeRegions every 20 seconds\n"
        f"It takes about twenty minutes, costs at most {verify_scene.COST_USD:.2f} USD, and touches nothing else. If "
        f"AWS Config records all resources, its items are about {verify_scene.CONFIG_USD:.2f} USD; a second trail "
        "takes a few cents. At its end, at Ctrl-C and after a failure it removes all that it made, within "
        f"{minutes:g} minutes; if it is killed, rolekeeper verify --sweep does."
    )


_COLOURS = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}
_LAYOUT = Layout(
    (
        Column("outcome"),
        Column("name"),
        Column("seconds", lambda each: getattr(each, "seconds", "")),
        Column("what", lambda each: each.expected if isinstance(each, Probe) else each.what, kind="text"),
    ),
    # Why it failed or was skipped; or what AWS answered instead of what was expected.
    note=lambda each: each.why or (each.observed if isinstance(each, Probe) and each.outcome is Outcome.FAILED else ""),
    note_name="why",
    colour=lambda each: _COLOURS[each.outcome],
)
_LEAST = {"outcome": len("skipped"), "name": len("foreign-mapped"), "seconds": len("1234.5")}


class _Shown:
    """For people, each step as it ends, and on a terminal the one that goes on."""

    def __init__(self, trail_patience: float) -> None:
        self._says = {
            run.TRAIL: "CloudTrail's records may take 15 minutes: "
            f"waiting {trail_patience:g} seconds at most (--trail-patience).",
            run.REMOVAL: "Removing everything. Ctrl-C leaves the rest to: rolekeeper verify --sweep",
        }
        self._listing = tables.Listing(_LAYOUT, _LEAST) if terminal.options().for_people else None
        self._status: Any = None

    def begins(self, name: str) -> None:
        self.close()
        if name in self._says:
            terminal.say(self._says[name])
        if name != run.REMOVAL and self._listing and sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415  # it takes 30 ms of the 80 that a --help has

            self._status = Console(stderr=True).status(f"{name} …")
            self._status.start()

    def ended(self, found: Step | Probe) -> None:
        self.close()
        if self._listing:
            self._listing.draw([found])

    def close(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def _end(report: Report) -> ExitCode:
    """Show the whole as a document, or what it comes to."""
    render.show(report)
    facts = Counter(probe.outcome for probe in report.probes)
    if otherwise := facts[Outcome.FAILED]:
        differs = amount(otherwise, "fact")
        terminal.warn(f"AWS differs from docs/AWS_FACTS.md in {differs}: please send the report as an issue")
    if facts:
        so, unasked = facts[Outcome.PASSED], facts[Outcome.SKIPPED]
        terminal.say(f"Facts of docs/AWS_FACTS.md: {so} as the page has them, {unasked} couldn't be asked.")
    if not report.left:
        terminal.say("Nothing is left.")
    steps = {each: [step.name for step in report.steps if step.outcome is each] for each in Outcome}
    counts = ", ".join(f"{len(names)} {outcome}" for outcome, names in steps.items() if names)
    skipped = steps[Outcome.SKIPPED]
    text = f"{counts}: {', '.join(skipped)}" if skipped else counts
    match report.outcome:
        case Outcome.PASSED:
            terminal.say(f"{text}.")
            return ExitCode.DONE
        case Outcome.SKIPPED:
            terminal.bad([f"{text}. What these prove isn't proven: the report says why."])
            return ExitCode.UNPROVEN
    terminal.bad([f"Failed: {', '.join(steps[Outcome.FAILED])}. {text}."])
    return ExitCode.NO
