"""What a plan rested on and that moved since: rows, mappings, tags, associations, other instances."""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import batched

from rolekeeper.aws.ec2 import FILTER_VALUES
from rolekeeper.instances.decide import ENDED
from rolekeeper.instances.observe import Unreadable
from rolekeeper.mappings.rows.reader import content
from rolekeeper.model import escaped
from rolekeeper.model.instance import InstanceKey, Target
from rolekeeper_cli.deployment import Deployment
from rolekeeper_cli.plan_file import PlanFile, PlannedChange, planned_change
from rolekeeper_cli.views.looking import Enforced, Seen, look, named, pages, profile_name
from rolekeeper_cli.views.places import Places
from rolekeeper_cli.views.proposal import Proposal
from rolekeeper_cli.writes.mapping_rows import mapping_rows


def moved_edits(deployment: Deployment, plan: PlanFile, proposed: Proposal) -> Iterator[str]:
    """Rows and mappings that aren't as the plan saw them."""
    rows = mapping_rows(deployment).some([each.key for each in plan.edits])
    now = {each.key: each for each in proposed.edits}
    for edit in plan.edits:
        key, present = escaped(str(edit.key)), now.pop(edit.key, None)
        if present is None:
            yield f"mapping {key} is as the file says already"
        elif content(rows.get(edit.key, {})) != content(edit.row) and present.change is not None:
            yield f"the row of {key} was edited"
        elif present.revision != edit.revision:
            yield f"mapping {key} was at revision {edit.revision}, and is at {present.revision}"
        elif (present.status, present.takes_effect) != (edit.status, edit.takes_effect):
            yield f"mapping {key} would be {present.status} now: {present.reason}"
    yield from (f"mapping {escaped(str(key))} is no longer as the file says" for key in now)


def moved_instances(deployment: Deployment, plan: PlanFile, proposed: Proposal) -> Iterator[str]:
    """Instances that aren't as the plan saw them, and those that would change too by now."""

    @cache
    def state(target: Target) -> Enforced:
        place = deployment.at(target)
        return Enforced.of(place, proposed.served_at(place))

    known: set[InstanceKey] = set()
    for some in batched(plan.changes(), FILTER_VALUES):
        known |= {each.key for each in some}
        for target in dict.fromkeys(each.key.target for each in some):
            place, planned = deployment.at(target), {each.instance: each for each in some if each.key.target == target}
            found = look(place, state(target), named(place, planned))
            seen = {each.key.id if isinstance(each, Unreadable) else each.instance.key.id: each for each in found}
            for id_, change in planned.items():
                if moved := _moved(change, seen.get(id_)):
                    yield f"{_title(change)} {moved}"
    if not plan.basis.instances:
        places = Places.chosen(deployment, plan.basis.targets)
        for each in places.look(pages, lambda place: state(place.settings.target)):
            # A damaged record decides nothing: the plan left it out too.
            if isinstance(each, Seen) and each.decision.action.mutates and each.instance.key not in known:
                yield f"{each.instance.key.id}, which the plan left alone, would change too: {each.decision.reason}"
        yield from places.unseen_in_words()


def _moved(planned: PlannedChange, seen: Seen | Unreadable | None) -> str:
    """What of one instance moved; empty when nothing did."""
    if seen is None:
        return "is gone"
    if isinstance(seen, Unreadable):
        return f"can't be read: {seen.error.message}"
    if seen.instance.state in ENDED:
        return f"is {seen.instance.state}"
    now = planned_change(seen)
    if now == planned:
        return ""
    if now.tags != planned.tags:
        return _moved_tags(planned.tags, now.tags)
    if now.association != planned.association:
        return f"had {_carried(planned)}, and has {_carried(now)}"
    if (now.mapping, now.revision) != (planned.mapping, planned.revision):
        return (
            f"was governed by {planned.mapping or 'no mapping'} (revision {planned.revision}), and is by "
            f"{now.mapping or 'no mapping'} (revision {now.revision})"
        )
    return f"would {seen.decision.action.value.lower()} now, not {planned.action.lower()}: {seen.decision.reason}"


def _moved_tags(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    said = []
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            was, is_ = (repr(tags[key]) if key in tags else "not there" for tags in (before, after))
            said.append(f"tag {key} was {was}, and is {is_}")
    return f"has other tags: {', '.join(said)}"


def _carried(change: PlannedChange) -> str:
    return f"{profile_name(change.before)} ({change.association})" if change.association else "no role"


def _title(change: PlannedChange) -> str:
    return f"{change.instance} ({change.name})" if change.name else change.instance
