"""What is known of an instance as lines, a label and a text each, which the terminal and the console draw."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from rolekeeper.model.problem import Advice, Kind, Remedy, advice, typed
from rolekeeper_cli.instance.use import titled
from rolekeeper_cli.instance.view import (
    AssociationView,
    CallView,
    ExplanationView,
    GoverningView,
    RoleUseView,
    UptakeView,
    UseStatus,
    WhoView,
)
from rolekeeper_cli.shell.layout import second

type Line = tuple[str, str | Advice]

# ---- why it has its role ----


def of_instance(view: ExplanationView, address: str) -> Iterator[Line]:
    """What it carries and should carry, and why; `address` is the instance as a command names it."""
    decision = view.decision
    yield "instance", f"{titled(address, view.name)}, {view.state}"
    yield "carries", _carried_in_words(view.carries, view.mapping)
    ignored = decision.code == "ignored"
    yield "should carry", "what it has, as it is ignored" if ignored else view.should_carry or "no role"
    yield "because", f"{view.because} ({decision.action}, {decision.code})"
    if view.withheld:
        yield "withheld", f"{view.withheld}: nothing is changed now"
    yield from _of_mappings(view)
    if pin := view.pin:
        until = f" until {second(pin.expires_at)}" if pin.expires_at else ""
        why = f": {pin.claimed_reason}" if pin.claimed_reason else ""
        yield "pin", f"{pin.role or pin.unclear}{until}, claimed by {pin.claimed_by or 'nobody'}{why}"
        release = f"rolekeeper release {address}"
        if all(step.command != release for step in view.undo):
            yield "", f"{release} gives it back to its tags"
    if condition := view.condition:
        parked = ", parked" if condition.parked else ""
        # A reason can be long, so it is shown once.
        reason = "" if condition.reason == decision.reason else f"{condition.reason}, "
        yield "condition", f"{reason}since {second(condition.since)}{parked}"
    if former := view.took_over_from:
        yield "took over from", f"{former.profile_arn} ({former.at[:19]}Z)"


def _of_mappings(view: ExplanationView) -> Iterator[Line]:
    """The mapping that governs it, and what of the others, and of edits, isn't in effect."""
    if mapping := view.mapping:
        owner = f", owned by {mapping.owner}" if mapping.owner else ""
        yield "mapping", f"{mapping.mapping}, revision {mapping.revision}, priority {mapping.priority}{owner}"
    for missing in view.not_in_effect or ():
        # What the decision, its pin and its condition say is shown already.
        if missing.mapping or missing.code == "node":
            yield missing.code if missing.code in {"overridden", "node"} else "not in effect", missing.reason
    if view.unknown_because:
        yield "unknown", view.unknown_because


def _carried_in_words(carried: AssociationView | None, mapping: GoverningView | None) -> str:
    """The mapping that gave it is named with its revision, unless that is shown as the one that governs it now."""
    if carried is None:
        return "no role"
    if carried.attached_by == "Rolekeeper":
        by = "attached by Rolekeeper" + (f" for {carried.for_}" if carried.for_ else "")
        is_shown = mapping and (carried.for_, carried.revision) == (mapping.mapping, mapping.revision)
        by += f", revision {carried.revision}" if carried.revision and not is_shown else ""
    else:
        by = "managed, attached by another actor" if carried.managed else "foreign: outside the role path"
    return f"{carried.instance_profile} ({carried.association}, {carried.state}), {by}"


def of_last_change(view: ExplanationView) -> Iterator[Line]:
    """The newest entry of its history, and how to undo the last change."""
    if last := view.last:
        yield "triggered by", f"{last.cause} ({last.at[:19]}Z)"
        reason = "" if last.reason == view.decision.reason else f": {last.reason}"
        yield "last decision", f"{last.action} ({last.code}){reason}"
        if last.answered:
            yield "AWS answered", last.answered
    if view.former is None:
        yield "to undo", "nothing: Rolekeeper's history has no change that made it so"
        return
    if view.former.until:
        yield "before that", f"{view.former.profile_arn or 'no role'} (until {view.former.until[:19]}Z)"
    label, brings = ("to undo", "brings back") if view.former.until else ("to keep it", "keeps")
    for number, step in enumerate(view.undo):
        yield "" if number else label, step.does
        yield "", step.command
    if not view.undo:
        yield label, f"no step {brings} {view.former.title}"


# ---- who did it ----


def of_who(answers: Iterable[WhoView], account: str) -> Iterator[Line]:
    for answer in answers:
        yield f"{answer.what} by", in_words(answer, account) or f"unknown ({answer.about}): {answer.unknown_because}"


def in_words(answer: WhoView, account: str) -> str:
    """Who did it; empty if that isn't known."""
    tag = f" {answer.about}" if answer.what in {"tagged", "untagged"} else ""
    who = answer.by.words(account) if answer.by else ""
    return f"{who} ({answer.event}{tag}, {second(answer.at)})" if who else ""


# ---- what software does with its roles ----

#: What the event history of an instance's Region lacks (docs/AWS_FACTS.md, "CloudTrail's event history").
NOT_RECORDED = (
    "calls on the data of services, such as S3's objects and DynamoDB's items, aren't in CloudTrail's event history; "
    "those to other Regions aren't in this Region's, and those to IAM, Organizations, Route 53 and CloudFront are in "
    "us-east-1's alone; records are up to 15 minutes late"
)


def of_uptake(view: UptakeView, address: str, *, brief: bool = False) -> Iterator[Line]:
    """Whether software uses its roles; `address` is the instance as a command names it."""
    roles, known = view.roles, not view.unknown_because
    see = f"; see rolekeeper uptake {address}" if brief else ""
    if known and not (brief or view.carried):
        yield "carries", "no role"
    for each in roles:
        if not each.carried:
            yield "former role", _former(each, is_known=known) + (see if not each.last_use else "")
            if each.status != UseStatus.CUT_OFF:
                revoke = typed(f"{Remedy(Kind.REVOKE, (address,))} --role {each.role}")
                yield "", advice(revoke, " ends that")
            continue
        found = list(_carried(each))
        yield from found[-1:] if brief else found
        if known and not each.last_use:
            what = "no call" if each.delivered_at else "no delivery and no call"
            since = second(max(at for at in (view.looked_since, each.since) if at))
            yield "role use", f"{each.role}: {what} seen since {since} ({_NO_PROOF}){see}"
        if earlier := each.earlier_use:
            yield "earlier use", f"{each.role}, by what was delivered before: {second(earlier.at)}, {_call(earlier)}"
    if because := view.unknown_because:
        yield "unknown", f"whether software uses a role: {because}"
    elif not view.looked_through and view.former:
        yield "", "Not all calls were looked through; older ones may have been made with a former role."
    if known and not (brief or all(each.last_use for each in roles)):
        yield "not recorded", NOT_RECORDED


def _carried(role: RoleUseView) -> Iterator[Line]:
    name, first, last = role.role, role.first_use, role.last_use
    if at := role.delivered_at:
        valid = f"valid until {second(role.valid_until)}"
        yield "delivered", f"{name}, {_when(at, role.delivered_after_seconds)}; {valid}"
    if last:
        began = f"first call {_when(first.at, first.after_seconds)}: {_call(first)}" if first else ""
        ends = "" if first and first.at == last.at else f"last call {second(last.at)}: {_call(last)}"
        refused = "" if role.last_accepted_use else "each call that was looked at was refused"
        yield "in use", f"{name}, {'; '.join(filter(None, (began, ends, refused)))}"


_NO_PROOF = "not proof that it is unused"


def _former(role: RoleUseView, *, is_known: bool) -> str:
    ends = f"its credentials are valid until {second(role.valid_until)} at the latest"
    if role.denied_before:
        ends = f"what the instance got of it before {second(role.denied_before)} is denied"
    if last := role.last_use:
        still = "" if role.status == UseStatus.CUT_OFF else "still used, "
        ends = f"{still}last call {second(last.at)}: {_call(last)}; {ends}"
    elif is_known:
        ends = f"no call seen since ({_NO_PROOF}); {ends}"
    return f"{role.role}{f', taken {second(role.until)}' if role.until else ''}: {ends}"


def _call(call: CallView) -> str:
    refused = f", refused ({call.refused})" if call.refused else ""
    return f"{call.action} by {sdk(call.agent)}{refused}"


def _when(at: datetime, after: float | None) -> str:
    return second(at) if after is None else f"{after:,.0f} s after it was attached ({second(at)})"


def sdk(agent: str) -> str:
    """The program that called, in short: the first product of a user agent, as `aws-cli/2.31.0`."""
    return agent.strip("[] ").partition(" ")[0] or "a program that didn't name itself"
