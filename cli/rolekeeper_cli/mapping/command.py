"""`rolekeeper mapping`: rows of the mapping table, one at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

import click

from rolekeeper.model.text import escaped
from rolekeeper_cli.errors import ExitCode, UsageError
from rolekeeper_cli.fleet.wait_command import tell_followed
from rolekeeper_cli.lazily import lazily
from rolekeeper_cli.mapping.arguments import takes_key, takes_key_and_columns, takes_keys
from rolekeeper_cli.row.view import EditEntryView, HeldEditView, MappingView, RowPlanView
from rolekeeper_cli.shell import render, terminal
from rolekeeper_cli.shell.arguments import OneOf, completes, dry_runs, waits, yes, yes_to_all
from rolekeeper_cli.shell.command import Group, command, deployment, lists, prints
from rolekeeper_cli.shell.layout import Column, Layout, amount, arn_name, several

with lazily():
    from rolekeeper_cli.fleet import follow
    from rolekeeper_cli.mapping import preview as mapping_preview
    from rolekeeper_cli.mapping import rehearsal
    from rolekeeper_cli.row import edits, effect, names
    from rolekeeper_cli.row import use as mappings
    from rolekeeper_cli.shell import tables

if TYPE_CHECKING:
    from rolekeeper.model.mapping import MappingKey
    from rolekeeper_cli.aws.deployment import Deployment


# Those of a row (docs/mappings.md, "Status"), written out because importing them would take too long for the help.
STATUSES = ("Published", "Rolling out", "Halted", "Expired", "Rejected", "Conflict", "Held", "Waiting")

# Those of files, as `main` has its commands.
_FILES = {
    "Commands": {
        "export": (".mapping.files_command:export", "Write all mappings to a YAML file."),
        "validate": (".mapping.files_command:validate", "Check a file of mappings without AWS."),
    }
}


@click.group(
    "mapping",
    cls=Group,
    lazy=_FILES,
    examples=["rolekeeper mapping ls", "rolekeeper mapping set workload=web role=web"],
)
def group() -> None:
    """Manage mappings: this tag means this role."""


@lists()
@prints(ExitCode.REJECTED, ExitCode.HELD, mappings=list[MappingView])
@command(
    "ls",
    "rolekeeper mapping ls",
    "rolekeeper mapping ls --status Rejected --output json",
    "rolekeeper mapping ls --not-in-effect --detailed-exitcode",
)
@click.option(
    "--status", type=OneOf(STATUSES), metavar="STATUS", help="Only rows with this status, as Rejected or Held."
)
@click.option("--not-in-effect", is_flag=True, help="Only rows that aren't in effect, or govern no instance.")
@click.option(
    "--detailed-exitcode", is_flag=True, help="Exit with 3 when a listed row is rejected, and with 4 when one is held."
)
def list_(status: str | None, *, not_in_effect: bool, detailed_exitcode: bool) -> ExitCode:
    """List the mappings.

    Each with the role that is in effect and, if the row says something else, why that isn't in effect yet. With
    --detailed-exitcode it exits with 3 when listed rows are rejected or in conflict, with 4 when they are held, and
    with 1 when they aren't judged yet, or AWS gives no answer.
    """
    views = mappings.views(deployment())
    shown = [view for view in views if status in (None, view.status) and (view.not_in_effect or not not_in_effect)]
    render.show_list(LAYOUT, shown, empty=lambda: _empty(views, status), total=lambda: f"{_counts(shown)}.")
    return edits.exit_code(map(_status, shown)) if detailed_exitcode else ExitCode.DONE


def _status(view: MappingView) -> str:
    """The status; empty for a row that isn't judged yet as it is."""
    return "" if any(missing.code == "not-judged" for missing in view.not_in_effect or ()) else view.status or ""


@prints(mapping=MappingView)
@command("get", "rolekeeper mapping get workload=web", r"rolekeeper mapping get 'cost\=center=42'")
@takes_key
def get(key: MappingKey) -> None:
    """Show one mapping.

    Its columns, what is in effect, and the result of the last edit.
    """
    [view] = mappings.views(deployment(), [key])
    beside = ("status", "status_reason", "status_revision", "held_revision", "matched", "occupied")
    lines = [*view.columns.items(), ("in effect", _in_effect(view))]
    lines += [("not in effect", missing.brief) for missing in view.not_in_effect or ()]
    known = {name: getattr(view, name) for name in beside if name != "status_reason" or _note(view)}
    lines += [(name.replace("_", " "), value) for name, value in known.items() if value is not None]
    render.show(view, lambda: tables.show_table(("column", "value"), lines))


@prints(ExitCode.REJECTED, ExitCode.HELD, row_plan=RowPlanView)
@command(
    "set",
    "rolekeeper mapping set workload=web role=web priority=50",
    "rolekeeper mapping set workload=web 'require_tags=environment=production' owner=",
)
@takes_key_and_columns
@yes_to_all
@dry_runs
@waits
def set_(key: MappingKey, assignments: Sequence[str], *, yes: bool, wait: bool | None) -> ExitCode:
    """Create or change one mapping.

    The other columns stay as they are. On a terminal it shows first what would happen to instances, and asks.
    """
    there = deployment()
    intended = edits.with_verdicts(there, edits.set_columns(there, key, assignments), patience=patience(wait))
    intended = rehearsal.written_again(there, intended)
    show_intended(intended)
    return ask_and_write(there, intended, f"Write this into {key}", yes=yes, wait=wait)


@prints(ExitCode.CHANGES, ExitCode.REJECTED, ExitCode.HELD, row_plan=RowPlanView)
@command("rm", "rolekeeper mapping rm workload=web", "rolekeeper mapping rm workload=web --yes")
@takes_key
@yes
@dry_runs
@waits
def remove(key: MappingKey, *, yes: bool, wait: bool | None) -> ExitCode:
    """Delete one mapping.

    Its instances give up the role that it gave them, or keep it, as its `when_unmatched` says. It shows how many, and
    asks. Once the row is gone it says how many still carry the role, and why. Exits with 2 when they can't give it up
    yet: the change window has no room, changes are paused, or they are blocked.
    """
    terminal.require_answer(yes=yes)
    there = deployment()
    intended = edits.remove(there, key)
    show_intended(intended)
    return ask_and_write(there, intended, f"Delete {key}", consequence=mapping_preview.takes, yes=yes, wait=wait)


def ask_and_write(
    there: Deployment,
    intended: edits.RowPlan,
    task: str,
    *,
    consequence: mapping_preview.Consequence | None = None,
    yes: bool,
    wait: bool | None,
) -> ExitCode:
    """Write a plan, once a person at a terminal has seen what that would do to instances, and agreed to the task.

    `wait` True follows the instances too, False waits for nothing. Raises as `tell_written`.
    """
    for change in intended.changes:
        if "held_revision" in change.row and (change.columns or not change.spec):
            _warn_of_replaced(there, change.key)
    if intended.changes:
        terminal.agree(lambda: _question(mapping_preview.of_edit(there, intended), task, consequence), yes=yes)
    deletes = [change.key for change in intended.changes if change.spec is None]
    return tell_written(there, edits.write(there, intended, patience=patience(wait)), deletes, wait=wait)


def _warn_of_replaced(there: Deployment, key: MappingKey) -> None:
    """Say which edit of another person's is lost that waits for approval."""
    edit = edits.find_open_edit(there, key)
    if edit and edit.held and not edits.is_own(there, edit.held):
        who = f" of {escaped(arn_name(edit.held.by))}" if edit.held.by else ""
        terminal.warn(f"this replaces revision {edit.revision}{who}, which is held")


def show_intended(intended: edits.RowPlan) -> None:
    render.show(intended.view(), lambda: list(map(show_change, intended.changes)))
    if not intended.changes:
        terminal.say(f"Nothing to {'write' if intended.not_in_effect else 'do'}: the table says so already.")


def _question(
    found: mapping_preview.Preview, task: str, consequence: mapping_preview.Consequence | None
) -> terminal.Question:
    return terminal.Question(
        mapping_preview.question(task, found, consequence),
        found.lines(),
        code=lambda: ExitCode.NO if found.unknown else edits.exit_code(found.statuses),
    )


# ---- writing, and what Rolekeeper makes of it ----

_NAMED = 10


def patience(wait: bool | None) -> float:  # noqa: FBT001  # the option's own three values
    """How long a command waits for verdicts, in seconds."""
    return 0 if wait is False else edits.PATIENCE_SECONDS


def tell_written(
    deployment: Deployment,
    written: edits.Written,
    deletes: Sequence[MappingKey] = (),
    *,
    wait: bool | None,
    approved: bool = False,
) -> ExitCode:
    """Show the verdicts on rows, and who keeps a role of `deletes`; follow instances if asked (`ask_and_write`).

    Raises:
        MovedError: rows weren't as the plan saw them. The others were written, and judged if waited for.
        WaitTimeoutError: Rolekeeper judged none of the rows for a minute.
    """
    if wait is not False:
        written.require_judged()
    code = tell_verdicts(deployment, written, approved=approved)
    if written.moved:
        raise edits.MovedError(written.moved, len(written.rows))
    if wait and written.rows and code is ExitCode.DONE:
        return tell_followed(follow.follow(deployment, [each.key for each in written.rows]))
    gone = [row.key for row in written.rows if row.key in deletes and row.is_gone]
    if gone and wait is None:
        kept = _tell_keeping(follow.keeping(deployment, gone), gone)
        return kept if code is ExitCode.DONE else code
    return code


def _tell_keeping(found: follow.Keeping, gone: Sequence[MappingKey]) -> ExitCode:
    """Show which instances still carry the role of deleted mappings, and why."""
    terminal.bad(f"{_still_carry(number)}: {why}" for why, number in found.why.most_common())
    if found.under_way:
        terminal.say(f"{_still_carry(found.under_way)}: it is being detached.")
    if all(each.code == "kept" for each in found.why):  # as their mapping says
        return ExitCode.DONE
    terminal.say(f"To follow them: rolekeeper wait --mapping {quote(str(gone[0]))}")
    return ExitCode.CHANGES


def _still_carry(number: int) -> str:
    return f"{amount(number, 'instance')} still {'carries' if number == 1 else 'carry'} its role"


def tell_verdicts(deployment: Deployment, written: edits.Written, *, approved: bool = False) -> ExitCode:
    """Show the verdicts on rows, and what to look at in those that are published as written.

    To a caller who just `approved` them it isn't said how that is done.
    """
    judged = [row for row in written.rows if row.status]
    if bad := sorted(written.bad, key=lambda row: row.key):
        roles = names.path_roles(deployment) if any(row.is_rejected for row in bad) else ()
        for row in bad:
            _tell_bad(deployment, row, roles, approved=approved)
        if done := sum(row.is_done for row in judged):
            terminal.say(f"In effect as written: {done:,} of {len(judged):,} rows.")
        return edits.exit_code(row.status for row in bad)
    gone = sum(row.is_gone for row in judged)
    if published := len(judged) - gone:
        terminal.say("Published as written." if published == 1 else f"All {published:,} rows are published as written.")
    noted = [row for row in judged if row.note]
    for row in noted[:_NAMED]:
        terminal.say(f"  {escaped(str(row.key))}: {row.note}")
    if (more := len(noted) - _NAMED) > 0:
        terminal.say(f"  and {more:,} more: rolekeeper mapping ls")
    if gone:
        terminal.say("Deleted." if gone == 1 else f"Deleted: {gone:,}.")
    return ExitCode.DONE


def _tell_bad(deployment: Deployment, row: effect.Row, roles: Sequence[str], *, approved: bool) -> None:
    """Why a row isn't in effect as written, and what to do; `roles` are those that it may mean."""
    terminal.bad([f"{escaped(str(row.key))} is {row.status}: {row.note}"])
    if row.is_held:
        own = edits.is_own(deployment, deployment.app.revisions.read(row.key).held)
        what, who = "delete" if row.deletes else "publish", ", another person runs" if own else ""
        approve, discard = row.steps
        if not approved:
            terminal.say(f"  to {what} it{who}: {approve}")
        terminal.say(f"  to {'keep what is in effect' if row.revision else 'drop it'}: {discard}")
    if row.is_rejected and (meant := names.nearest_role(row.role, roles)):
        terminal.say(f"  did you mean {meant}? rolekeeper mapping set {quote(str(row.key))} role={meant}")


# ---- what an edit changes, a line for each row ----

_SIGNS = {"new": ("+", "green"), "changed": ("~", "yellow"), "deleted": ("-", "red")}


def show_change(change: edits.Change) -> None:
    """A line for a row, and under a changed one a line for each column."""
    sign, colour = _SIGNS[change.kind]
    cells = "  " + " ".join(change.cells())
    if change.kind == "changed":
        cells = "" if change.columns else "  no longer needs approval"
    terminal.line(f"{sign} {escaped(str(change.key))}{escaped(cells)}".rstrip(), colour)
    if change.kind == "changed":
        for name, both in change.columns.items():
            terminal.line(f"    {name}: {escaped(both.from_)} → {escaped(both.to)}")


# ---- the list ----

_UNJUDGED = "not judged yet"


def _counts(views: Sequence[MappingView]) -> str:
    statuses = Counter(view.status or _UNJUDGED for view in views)
    words = ", ".join(f"{count:,} {status}" for status, count in statuses.most_common())
    return f"{amount(len(views), 'mapping')}: {words}"


def _empty(views: Sequence[MappingView], status: str | None) -> str:
    if not views:
        return (
            "There are no mappings yet. Write one: rolekeeper mapping set workload=web role=web, "
            "or many: rolekeeper plan -f mappings.yaml --out change.plan, then rolekeeper apply change.plan"
        )
    what = f"No mapping is {status}" if status else "All mappings are in effect"
    return f"{what}. Of {_counts(views)}. See them: rolekeeper mapping ls"


def _note(view: MappingView) -> str:
    return mappings.noteworthy(view)


def _column(name: str) -> Column:
    return Column(name, lambda view: view.columns.get(name), wide=True)


def _in_effect(view: MappingView) -> str:
    if not view.in_effect:
        return "none"
    return f"none ({view.in_effect.role} {view.idle_because})" if view.idle_because else view.in_effect.role


def _role(view: MappingView) -> str:
    """The role in effect, and the one that the row asks for, if that is another one: the status says why."""
    now, waits = _in_effect(view), view.waits
    then = ("none" if waits.what == "deletion" else waits.role) if waits else ""
    return f"{now} → {then}" if then not in {"", now} else now


LAYOUT = Layout(
    (
        Column("mapping", kind="key"),
        Column("role", _role, kind="name"),
        Column("status", lambda view: view.status or _UNJUDGED),
        Column("revision", lambda view: view.status_revision),
        Column("matched"),
        *map(_column, ("priority", "enabled", "owner", "expires_at")),
    ),
    note=_note,
)


# ---- revisions, and edits that are held ----


@lists(limit=20)
@prints(mapping_history=list[EditEntryView])
@command("history", "rolekeeper mapping history workload=web", "rolekeeper mapping history workload=web --limit 5")
@takes_key
def history(key: MappingKey) -> None:
    """Show a mapping's edits and their results.

    Newest first: when, who approved it, who claims to have edited it, what changed.
    """
    there = deployment()
    entries = mappings.revisions(there, key, render.to_read())
    layout = Layout(
        (
            Column("at", lambda entry: f"{entry.at[:19]}Z"),
            Column("event"),
            Column("revision"),
            Column("claimed by"),
            Column("correlation id", wide=True),
        ),
        note=_what,
        note_name="what",
    )
    render.show_list(layout, entries, empty=str)
    if there.app.revisions.read(key).published is None and there.app.table.get_row(key) is None:
        terminal.say("The row was deleted before it was ever published.")


def _what(entry: EditEntryView) -> str:
    """What changed, or why nothing did; and why an edit that was held took effect."""
    what = "; ".join(entry.changes or ()) or entry.reason or ""
    return ": ".join(filter(None, (mappings.consent(entry), what)))


@prints(ExitCode.REJECTED, ExitCode.HELD, row_plan=RowPlanView)
@command("rollback", "rolekeeper mapping rollback workload=web", "rolekeeper mapping rollback workload=web --to 3")
@takes_key
@click.option(
    "--to",
    type=click.IntRange(1),
    metavar="N",
    shell_complete=completes("revisions"),
    help="The revision to go back to, whatever the row says.",
)
@yes
@dry_runs
@waits
def rollback(key: MappingKey, to: int | None, *, yes: bool, wait: bool | None) -> ExitCode:
    """Go back to an earlier revision.

    By default to the one before what is in effect. It passes through all checks as a new revision. An edit that isn't
    in effect is no revision yet: `rolekeeper mapping discard` drops it.
    """
    terminal.require_answer(yes=yes)
    there = deployment()
    old = edits.revision_to_restore(there, key, to)
    intended = edits.with_verdicts(there, edits.restoring(there, old), patience=patience(wait))
    terminal.say(f"Revision {old.revision}:")
    show_intended(intended)
    return ask_and_write(there, intended, f"Write revision {old.revision} into the row of {key}", yes=yes, wait=wait)


@prints(ExitCode.REJECTED, ExitCode.HELD, mapping=MappingView)
@command("resume", "rolekeeper mapping resume workload=web", "rolekeeper mapping resume workload=web --yes")
@takes_key
@yes
@dry_runs
@waits
def resume(key: MappingKey, *, yes: bool, wait: bool | None) -> ExitCode:
    """Let a halted rollout go on.

    Its wave begins again, and the instances of later waves follow. To go back instead: `rolekeeper mapping rollback`.
    """
    terminal.require_answer(yes=yes)
    there = deployment()
    edits.require_row(there, key)
    [view] = mappings.views(there, [key])
    render.show(view, lambda: terminal.line(f"{key} is {view.status}: {view.status_reason}"))
    terminal.agree(lambda: terminal.Question(f"Let the rollout of {key} go on?", []), yes=yes)
    return tell_written(there, edits.resume(there, key, patience=patience(wait)), wait=wait)


_held_revision = click.option(
    "--revision", type=click.IntRange(1), metavar="N", help="Only if this is the revision that is held."
)


@prints(ExitCode.REJECTED, ExitCode.HELD, row_plan=RowPlanView)
@command("discard", "rolekeeper mapping discard workload=web", "rolekeeper mapping discard workload=web --revision 5")
@takes_key
@_held_revision
@yes
@dry_runs
@waits
def discard(key: MappingKey, revision: int | None, *, yes: bool, wait: bool | None) -> ExitCode:
    """Drop an edit that isn't in effect.

    One that is held, rejected or in conflict, or a deletion. This restores the row to what is in effect; a row that
    was never in effect is deleted. No instance changes.
    """
    terminal.require_answer(yes=yes)
    there = deployment()
    edit = edits.open_edit(there, key, revision)
    plan = edit.discarding(there)
    render.show(plan.view(), lambda: list(map(show_change, plan.changes)))
    terminal.agree(lambda: terminal.Question(f"Discard {edit.named}?", [edit.left]), yes=yes)
    written = edits.discard(there, edit, patience=patience(wait))
    if wait is False or written.moved or written.unjudged:
        return tell_written(there, written, wait=wait)
    [row] = written.rows
    terminal.say(f"Discarded. The row is {'gone' if row.is_gone else row.status}.")
    return edits.exit_code(row.status for row in written.bad)


@prints(ExitCode.CHANGES, ExitCode.REJECTED, ExitCode.HELD, held_edits=list[HeldEditView])
@command(
    "approve",
    "rolekeeper mapping approve workload=web",
    "rolekeeper mapping approve workload=web --revision 5 --yes",
    "rolekeeper mapping approve --all",
)
@takes_keys
@click.option("--all", "whole", is_flag=True, help="All that are held, except your own.")
@_held_revision
@yes
@dry_runs
@waits
def approve(keys: Sequence[MappingKey], revision: int | None, *, whole: bool, yes: bool, wait: bool | None) -> ExitCode:
    """Approve edits or deletions that are held.

    They then take effect. It first shows how many instances change, and which permissions they gain and lose. Your
    approval is signed in the state table, where nobody else can write it. You can't approve your own edit.
    """
    if whole == bool(keys) or (revision and len(keys) != 1):
        what = "name mappings, or give --all; --revision is for one"
        raise UsageError(what, "see: rolekeeper mapping ls --status Held")
    terminal.require_answer(yes=yes)
    there = deployment()
    if whole:
        keys = _others_held(there)
    held = [edits.open_edit(there, key, revision, is_held=True) for key in keys]
    for edit in held:
        edits.refuse_own(there, edit.key, edit.held)
    views = [_held_view(edit) for edit in held]
    # A person who is asked sees what it changes as it is now.
    render.show(views, lambda: _show_held(views, brief=terminal.asks(yes=yes)))
    if not held:
        terminal.say("Nothing to approve.")
        return ExitCode.DONE
    task, consequence = f"Publish {len(held)} edits", mapping_preview.changes
    if len(held) == 1:
        task = f"Publish revision {held[0].revision} of {held[0].key}"
    if all(edit.deletes for edit in held):
        task, consequence = f"Delete {several([str(edit.key) for edit in held])}", mapping_preview.takes
    terminal.agree(lambda: _question(mapping_preview.of_edit(there, held), task, consequence), yes=yes)
    written = edits.approve(there, {edit.key: edit.revision for edit in held}, patience=patience(wait))
    return tell_written(there, written, [edit.key for edit in held if edit.deletes], wait=wait, approved=True)


def _others_held(there: Deployment) -> list[MappingKey]:
    """The mappings whose held edit the caller may approve; says which others are held."""
    rows = there.app.table.all_rows()
    held = {key: edits.find_open_edit(there, key) for key, row in rows.items() if effect.Row.of(key, row).is_held}
    # A deletion that is held writes its row again, so each has one.
    found = {key: edit.held for key, edit in held.items() if edit and edit.held}
    own = [key for key, edit in found.items() if edits.is_own(there, edit)]
    for key in own:
        terminal.say(f"Left out: {escaped(str(key))}, because it is your own edit; another person approves it.")
    return sorted(found.keys() - own)


def _held_view(edit: edits.OpenEdit) -> HeldEditView:
    reason = effect.text_in(edit.row, "status_reason")
    return HeldEditView(mapping=str(edit.key), revision=edit.revision, deletes=edit.deletes, reason=reason)


def _show_held(held: Sequence[HeldEditView], *, brief: bool) -> None:
    for edit in held:
        deletion, named = f"The deletion of {edit.mapping}", f"Revision {edit.revision} of {edit.mapping}"
        what = f"{deletion} is held as revision {edit.revision}" if edit.deletes else f"{named} is held"
        terminal.line(f"{what}." if brief else f"{what}: {edit.reason}")


for command_ in (list_, get, set_, remove, history, rollback, resume, discard, approve):
    group.add_command(command_)
