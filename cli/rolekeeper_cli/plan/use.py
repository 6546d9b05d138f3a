"""What would change in the fleet, as a view that terminal, Markdown and programs are given."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.model.instance import Action
from rolekeeper.model.mapping import MappingKey
from rolekeeper.permissions.comparison import Difference
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.instance.seen import Seen, profile_name
from rolekeeper_cli.instance.use import name_of, where
from rolekeeper_cli.mapping.preview import FleetPlan, in_words
from rolekeeper_cli.plan.view import AccountChangesView, PermissionsView, PlanCountsView, PlannedChangeView, PlanView
from rolekeeper_cli.row import use as mappings
from rolekeeper_cli.row.effect import withheld
from rolekeeper_cli.row.view import MappingView
from rolekeeper_cli.shell.layout import amount, grouped, several
from rolekeeper_cli.target.use import Places


def change_view(seen: Seen) -> PlannedChangeView:
    decision = seen.decision
    return PlannedChangeView(
        **where(seen.instance.key),
        name=name_of(seen.instance),
        state=seen.instance.state.value,
        action=decision.action.value,
        code=decision.code,
        from_=profile_name(seen.carries),
        to=profile_name(seen.should_carry),
        role=decision.role or None,
        mapping=str(decision.mapping) if decision.mapping else None,
        revision=decision.revision,
        reason=seen.reason,
    )


def view(
    fleet: FleetPlan, places: Places, waiting: Sequence[MappingView], changes: Sequence[PlannedChangeView]
) -> PlanView:
    """Return the plan, once all instances of these places are counted; `changes` are those that don't stay."""
    return PlanView(
        changes=changes,
        mappings=[edit.view() for edit in fleet.proposal.edits],
        permissions=_permissions(fleet),
        paced=fleet.paced(),
        waiting=waiting,
        withheld=withheld(fleet.deployment),
        unseen=places.unseen_views(),
        summary=_summary(fleet),
    )


def _permissions(fleet: FleetPlan) -> list[PermissionsView]:
    return [
        PermissionsView(
            account=move.account,
            from_=profile_name(move.before),
            to=profile_name(move.after),
            instances=instances,
            **asdict(found),
            severe=fleet.reader(move.account).severe_gain(*move.roles),
        )
        for move, instances, found in fleet.permissions()
    ]


def _summary(fleet: FleetPlan) -> PlanCountsView:
    actions: dict[str, Any] = {action.value.lower(): fleet.actions[action] for action in Action}
    accounts: dict[str, Counter[str]] = {}
    for target, instances in fleet.there.items():
        accounts.setdefault(target.account, Counter()).update(instances=instances, changes=fleet.changed[target])
    return PlanCountsView(
        **actions,
        changes=fleet.changes,
        instances=fleet.instances,
        percent=round(100 * fleet.changes / fleet.instances, 1) if fleet.instances else 0.0,
        accounts=[AccountChangesView(account=account, **counts) for account, counts in sorted(accounts.items())],
    )


def permissions_in_words(move: PermissionsView) -> str:
    return in_words(Difference(tuple(move.gained), tuple(move.lost), move.unknown))


# Of instances that aren't changed now.
_UNCHANGED = {"Wait": "waiting", "Hold": "blocked"}


def headline(changes: Sequence[PlannedChangeView], quoted: Callable[[str], str] = str) -> str:
    """Such as `web on 12 instances, db on 3; 2 foreign`; empty if every instance stays as it is."""
    roles = Counter(change.to or "" for change in changes if change.action not in _UNCHANGED)
    on = [
        f"{quoted(role) if role else 'no role'} on {f'{count:,}' if at else amount(count, 'instance')}"
        for at, (role, count) in enumerate(roles.most_common())
    ]
    kept = [change for change in changes if change.action in _UNCHANGED]
    left = Counter("foreign" if change.code == "occupied" else _UNCHANGED[change.action] for change in kept)
    return "; ".join(filter(None, (several(on), ", ".join(f"{count:,} {why}" for why, count in sorted(left.items())))))


def alike(changes: Sequence[PlannedChangeView], *, are_sorted: bool) -> list[list[PlannedChangeView]]:
    """Put together what changes in the same way for the same reason; unless sorted, what isn't changed now is last."""
    found = grouped(((each.action, each.code, each.from_, each.to, each.mapping), each) for each in changes)
    groups = list(found.values())
    return groups if are_sorted else sorted(groups, key=lambda some: (some[0].action in _UNCHANGED, -len(some)))


def nothing(plan: PlanView) -> str:
    """Why no instance is listed, in words; empty if one is."""
    summary = plan.summary
    if not summary.instances:
        see = "There are no instances to look at: see --region and --profile, or launch one."
        return "No instance was looked at." if plan.unseen else see
    if summary.nothing < summary.instances:
        return ""
    seen = " that was looked at" if plan.unseen else ""
    # One whose mapping isn't in effect isn't as it should be.
    so = f"No instance{seen} changes" if plan.waiting else f"Every instance{seen} is as it should be"
    return f"{so}: see them with rolekeeper fleet."


# ---- rows that aren't in effect as they are ----


def waiting_rows(deployment: Deployment, leave: Sequence[MappingKey]) -> tuple[list[MappingView], str]:
    """The rows that say something else than what is in effect, except some; or why they aren't known."""
    try:
        rows = deployment.app.table.all_rows()
    except AccessDeniedError as error:
        return [], f"whether rows wait isn't known: {refusal(error).what}"
    others = {key: row for key, row in rows.items() if key not in leave}
    return [view for view in mappings.views_of(deployment, others) if view.not_in_effect], ""


def waiting_in_words(waiting: Sequence[MappingView]) -> str:
    named = several([missing.brief for row in waiting for missing in row.not_in_effect or ()])
    rows = "1 row isn't" if len(waiting) == 1 else f"{len(waiting):,} rows aren't"
    return f"{rows} in effect as written, and not counted here: {named}"
