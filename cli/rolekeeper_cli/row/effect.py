"""What is in effect for a row and for an instance; and what concerns it and isn't in effect, each with why.

Whatever shows one or the other draws this value, and decides nothing itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from rolekeeper.aws.errors import AccessDeniedError
from rolekeeper.instances.decide import Observation, mapping_keys, not_applicable_because
from rolekeeper.instances.nodes import advice_for, node_of
from rolekeeper.mappings.rows import FULL, Attributes, HomeAccount, fingerprint, read_row, size_of
from rolekeeper.mappings.table import number_in
from rolekeeper.mappings.verdict import Status
from rolekeeper.model.instance import Action, Condition, Decision, Instance, in_account
from rolekeeper.model.mapping import Control, MappingKey, MappingSpec, PublishedMapping
from rolekeeper.model.problem import STEPS, Kind, Reason, ReasonCode, Remedy, sentence, stored
from rolekeeper.model.text import in_words, shown
from rolekeeper.storage import layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.aws.explained import refusal
from rolekeeper_cli.row.view import NotInEffectView, VerdictView
from rolekeeper_cli.shell.layout import arn_name, minute, second

# In effect as written; every other status needs a person's attention.
GOOD = frozenset({Status.PUBLISHED, Status.ROLLING_OUT, Status.EXPIRED})
# What an edit may come to without more to do.
DONE = GOOD | {Status.REMOVED}


@dataclass(frozen=True, slots=True)
class NotInEffect:
    """One thing that concerns a row or an instance and isn't in effect, or keeps something else from being so.

    `code` is the row's status, why a published mapping governs no instance, or the code of an instance's decision. A
    row that isn't in effect as it is has its `status`, empty until it is judged; the `revision` under which it is held;
    the role that it asks for; the revision that is `in_effect` instead; and whether it was `edited` since that was
    published. 0 and None stand for none.
    """

    code: str
    reason: str
    mapping: MappingKey | None = None
    status: str | None = None
    revision: int = 0
    role: str = ""
    in_effect: int = 0
    edited: bool = False
    deletes: bool = False
    until: datetime | None = None

    @property
    def is_edit(self) -> bool:
        return self.status is not None

    @property
    def because(self) -> str:
        """Why an edit isn't in effect, in a few words."""
        return _BECAUSE.get(self.status or "", "isn't judged yet")

    def __str__(self) -> str:
        return f"{self.brief}: {self.reason}" if self.is_edit and self.reason else self.brief

    @property
    def brief(self) -> str:
        """The same, without the reasons of a row's status."""
        if self.is_edit:
            return f"{self._edit} {'is held' if self.status == Status.HELD else self.because}"
        until = f" (until {minute(self.until)})" if self.until else ""
        return f"{self.mapping}: {self.reason}{until}" if self.mapping else f"{self.reason}{until}"

    @property
    def _edit(self) -> str:
        number = f"revision {self.revision}" if self.revision else ""
        if self.deletes:
            return f"the deletion of {self.mapping}{f' ({number})' if number else ''}"
        edit = number or ("the last edit" if self.in_effect and self.edited else "")
        return f"{edit} of {self.mapping}" if edit else str(self.mapping)

    def view(self) -> NotInEffectView:
        return NotInEffectView(
            code=self.code,
            mapping=str(self.mapping) if self.mapping else None,
            status=self.status or None,
            revision=self.revision or None,
            in_effect=self.in_effect or None,
            reason=str(self),
            brief=self.brief,
            until=self.until,
        )


_BECAUSE: Mapping[str, str] = {
    Status.HELD: "waits for approval",
    Status.HALTED: "is halted",
    Status.REJECTED: "is rejected",
    Status.CONFLICT: "is in conflict",
    Status.WAITING: "waits for AWS",
}

# Why what is published governs no instance.
IDLE: Mapping[str, str] = {"disabled": "is disabled", "expired": "expired", "out-of-scope": "is out of scope"}


@dataclass(frozen=True, slots=True)
class Effect:
    """What is in effect: what is published of a row, or the mapping that governs an instance; and what isn't."""

    in_effect: PublishedMapping | None = None
    missing: tuple[NotInEffect, ...] = ()

    @property
    def edits(self) -> tuple[NotInEffect, ...]:
        """The rows that aren't in effect as they are: their edits, deletions, and what can't be used any longer."""
        return tuple(missing for missing in self.missing if missing.is_edit)

    @property
    def overridden(self) -> list[NotInEffect]:
        """The published mappings that don't govern it."""
        return [missing for missing in self.missing if missing.mapping and not missing.is_edit]

    @property
    def idle(self) -> NotInEffect | None:
        """Why what is published of a row governs no instance; None if it may govern some."""
        return next((missing for missing in self.missing if missing.code in IDLE), None)

    def views(self) -> list[NotInEffectView]:
        return [missing.view() for missing in self.missing]


# ---- a row ----


def text_in(row: Attributes, column: str) -> str:
    """A column of a row as text, as `number_in` reads a number; empty if it is absent."""
    attribute: Any = row.get(column) or {}
    return str(next(iter(attribute.values()), ""))


def reasons_in(row: Attributes) -> tuple[Reason, ...]:
    found = row.get("status_details")
    return stored(text_in(row, "status_reason"), layout.plain(found) if found else ())


def worth_saying(reasons: Sequence[Reason]) -> list[Reason]:
    """The reasons without steps; none if a mapping is just in effect in all its accounts."""
    well = all(each.code is ReasonCode.IN_EFFECT and "of" not in each.arguments for each in reasons)
    return [] if well else [each for each in reasons if each.code not in STEPS]


# Why what is published of a row isn't in effect everywhere.
_ELSEWHERE = {ReasonCode.NO_SPOKE_IN_SCOPE: "out-of-scope", ReasonCode.NOT_IN_EFFECT_IN: "not-everywhere"}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the mapping table: the mapping that it says, None if it can't be read, and what Rolekeeper wrote.

    `role` is the text in its column, which may name none. `judging`: its accounts are still asked about it.
    """

    key: MappingKey
    spec: MappingSpec | None = None
    role: str = ""
    status: str = ""
    reasons: tuple[Reason, ...] = ()
    revision: int = 0
    held_revision: int = 0
    judging: bool = False

    @classmethod
    def read(cls, key: MappingKey, row: Attributes, home: HomeAccount) -> Self:
        return replace(cls.of(key, row), spec=read_row(row, home).spec)

    @classmethod
    def of(cls, key: MappingKey, row: Attributes) -> Self:
        """What Rolekeeper wrote into a row, and its role, without reading the mapping."""
        if "status" not in row:
            return cls(key, role=text_in(row, "role"))
        return cls(
            key,
            role=text_in(row, "role"),
            status=text_in(row, "status"),
            reasons=reasons_in(row),
            revision=number_in(row, "status_revision"),
            held_revision=number_in(row, "held_revision"),
            judging="judging" in row,
        )

    @property
    def is_done(self) -> bool:
        """Whether it is judged, and in effect as it was written."""
        return self.status in DONE

    @property
    def is_gone(self) -> bool:
        return self.status == Status.REMOVED

    @property
    def is_held(self) -> bool:
        return self.status == Status.HELD

    @property
    def is_rejected(self) -> bool:
        return self.status == Status.REJECTED

    @property
    def deletes(self) -> bool:
        """Whether it is held as its deletion."""
        return any(reason.code is ReasonCode.TO_KEEP for reason in self.reasons)

    @property
    def steps(self) -> tuple[Remedy, Remedy]:
        """What approves the held edit, and what discards it."""
        return self.key.remedy(Kind.APPROVE, str(self.held_revision)), self.key.remedy(Kind.DISCARD)

    @property
    def note(self) -> str:
        """Why it has its status, without the steps; empty if it is just in effect."""
        return sentence(worth_saying(self.reasons))

    def view(self) -> VerdictView:
        return VerdictView(mapping=str(self.key), status=self.status or None, reason=sentence(self.reasons) or None)

    def unpublished(self, published: PublishedMapping | None) -> NotInEffect | None:
        """What the row says and isn't in effect; None if it is published as it is."""
        same = published is not None and self.spec == published.spec
        if same and self.status in GOOD:
            return None
        # A status is that of the row as it was last judged.
        status = "" if self.status in GOOD else self.status
        return NotInEffect(
            status.casefold() or "not-judged",
            self.note if status else "",
            self.key,
            status=status,
            revision=self.held_revision if self.is_held else 0,
            role=self.role,
            in_effect=published.revision if published else 0,
            edited=self.is_held or not same,
            deletes=same and self.is_held,
        )

    @property
    def elsewhere(self) -> Iterator[NotInEffect]:
        """Where what is published isn't in effect."""
        for reason in self.reasons:
            partly = reason.code is ReasonCode.IN_EFFECT and "of" in reason.arguments
            if code := "not-everywhere" if partly else _ELSEWHERE.get(reason.code):
                yield NotInEffect(code, str(reason), self.key)


def of_row(deployment: Deployment, key: MappingKey, *, row: Row | None, published: PublishedMapping | None) -> Effect:
    """What is in effect of a row; None if there is no row."""
    live, home = published if published and not published.deleted else None, deployment.home
    edit = row.unpublished(live) if row else None
    if row is None and live:
        gone = NotInEffect("not-judged", "its row is gone", key, status="", in_effect=live.revision)
        edit = replace(gone, edited=True, deletes=True)
    missing = [edit] if edit else []
    if live and not live.spec.enabled:
        missing.append(NotInEffect("disabled", "it is disabled", key))
    elif live and live.spec.expired(deployment.now()):
        missing.append(NotInEffect("expired", f"it expired at {second(live.spec.expires_at)}", key))
    elif live and not (deployment.settings.organization or live.spec.covers(home.account, home.region, "")):
        missing.append(NotInEffect("out-of-scope", f"it is not for account {home.account} in {home.region}", key))
    elif live and row and not edit:
        missing += row.elsewhere
    return Effect(live, tuple(missing))


def of_rows(deployment: Deployment, rows: Mapping[MappingKey, Attributes]) -> dict[MappingKey, Effect]:
    """What is in effect of rows that were read from the mapping table."""
    published, home = deployment.app.state.read([], rows).published, deployment.app.home
    parsed = {key: Row.read(key, row, home) for key, row in with_status(deployment, rows).items()}
    return {key: of_row(deployment, key, row=row, published=published.get(key)) for key, row in parsed.items()}


def of_mapping(deployment: Deployment, key: MappingKey) -> Effect:
    """What is in effect of one mapping, by its row and what is published, read now."""
    rows = Rows(deployment)
    rows.read([key])
    if rows.unknown:
        return Effect(None, (NotInEffect("unknown", rows.unknown, key),))
    found = deployment.app.state.read([], [key])
    if key in found.damaged:
        raise found.damaged[key]
    row = next(iter(rows.of_keys([key])), None)
    return of_row(deployment, key, row=row, published=found.published.get(key))


def with_status(deployment: Deployment, rows: Mapping[MappingKey, Attributes]) -> dict[MappingKey, Attributes]:
    """The same rows; one without room for its status gets it from its history, if that is about the row as it is."""
    found = dict(rows)
    for key, row in rows.items():
        if "status" not in row and size_of(row) > FULL and layout.is_partition(layout.mapping_pk(key)):
            last = next(iter(deployment.app.revisions.history(key, limit=1)), {})
            if last.get("status") and last["fingerprint"] == fingerprint(row):
                said = {"status": last["status"], "status_reason": last["reason"]}
                found[key] = {**row, **layout.to_attributes({**said, "status_details": last.get("details", ())})}
    return found


@dataclass
class Rows:
    """The mapping table's rows, each read once, and those of a page of instances together. Several threads may read.

    `unknown` says why they can't be read.
    """

    deployment: Deployment
    unknown: str = ""
    _known: dict[MappingKey, Row | None] = field(default_factory=dict)

    def read(self, keys: Iterable[MappingKey]) -> None:
        # A tag's value may be empty, and a key of DynamoDB can't be.
        new = [key for key in dict.fromkeys(keys) if key not in self._known and key.tag_value]
        if not new or self.unknown:
            return
        try:
            found = with_status(self.deployment, self.deployment.app.table.get_rows(new))
        except AccessDeniedError as error:
            self.unknown = f"whether edits of mappings wait isn't known: {refusal(error).what}"
            return
        home = self.deployment.app.home
        self._known |= {key: Row.read(key, found[key], home) if key in found else None for key in new}

    def of_keys(self, keys: Iterable[MappingKey]) -> list[Row]:
        return [row for key in keys if (row := self._known.get(key))]

    def of_page(self, instances: Iterable[Instance]) -> None:
        """Read the rows for the tags of these instances."""
        self.read(key for instance in instances for key in mapping_keys(instance.tags))


# ---- an instance ----


def published_there(deployment: Deployment, mapping: PublishedMapping) -> PublishedMapping:
    """A mapping as it would be published for the deployment's target: with the profile of that name there."""
    if not deployment.elsewhere:
        return mapping
    if mapping.spec.units or mapping.spec.not_units:
        target = deployment.settings.target
        served = deployment.app.registry.get(target)
        in_scope = mapping.spec.covers(target.account, target.region, served.unit if served else "")
        mapping = replace(mapping, in_scope=in_scope)
    if not mapping.profile_arn:
        return mapping
    arn = in_account(mapping.profile_arn, deployment.settings.account)
    return replace(mapping, profile_arn=arn, profile_id="", former_profile_ids=frozenset())


# The codes of decisions that change nothing and leave an instance's tags without effect.
_LEFT_ALONE = frozenset({"ignored", "service-managed", "kept", "not-ours"})
# How an attempt at a change ended: no decision has these codes, but the instance's record may.
TRIED = frozenset({"window", "throttled", "propagating", "denied", "refused"})


def last_attempt(observed: Observation, decision: Decision) -> Condition | None:
    """What the instance shows of the last attempt at this very change, if that failed or waits for its turn."""
    condition = observed.record.condition
    if condition and condition.code in TRIED and decision.action.mutates:
        # The arguments of a refusal are EC2's words.
        tried = replace(decision, action=condition.action, code=condition.code, arguments=())
        if f"{condition.fingerprint}|".startswith(f"{tried.fingerprint}|"):
            return condition
    return None


def of_instance(
    observed: Observation,
    decision: Decision,
    rows: Iterable[Row] = (),
    *,
    there: Callable[[PublishedMapping], PublishedMapping] = lambda mapping: mapping,
) -> Effect:
    """What is in effect for an instance; `rows` are those for its tags.

    `there` gives a mapping as it would be published for the instance's account.
    """
    winner = observed.candidates.winner
    missing = (*_of_decision(observed, decision), *_of_rows(observed, rows, there), *_overridden(observed, decision))
    return Effect(None if winner and winner.key.pins else winner, missing)


def _of_decision(observed: Observation, decision: Decision) -> Iterator[NotInEffect]:
    """What keeps the instance's tags, or its mapping, from being in effect now."""
    pin = observed.pin
    if pin and observed.candidates.winner and observed.candidates.winner.key.pins:
        by, why = f" by {pin.by}" if pin.by else "", f": {pin.reason}" if pin.reason else ""
        yield NotInEffect("pinned", f"it is pinned to {pin.role}{by}{why}", until=pin.expires_at)
    if attempt := last_attempt(observed, decision):
        yield NotInEffect(attempt.code, attempt.reason, until=attempt.watched_until)
    elif decision.action in {Action.WAIT, Action.HOLD} or decision.code in _LEFT_ALONE:
        yield NotInEffect(decision.code, decision.reason, until=decision.until)
    carried = observed.association.profile_arn if observed.association else ""
    if decision.code == "not-ours" and observed.instance and (service := node_of(observed.instance, carried)):
        yield NotInEffect("node", advice_for(service))


def _of_rows(
    observed: Observation, rows: Iterable[Row], there: Callable[[PublishedMapping], PublishedMapping]
) -> Iterator[NotInEffect]:
    """The rows for the instance's tags that say something which isn't in effect for it."""
    published = {mapping.key: mapping for mapping in observed.published if not mapping.deleted}
    for row in rows:
        here, asks = published.get(row.key), there(PublishedMapping(row.spec, 0, "")) if row.spec else None
        if row.status in GOOD and asks and not here:
            code, why = _not_applicable(asks, observed) or ("unpublished", "it isn't published for this account yet")
            yield NotInEffect(code, why, row.key)
        elif (edit := row.unpublished(here)) and (
            # A row that can't be read may be meant for any instance with the tag.
            asks is None or not all(_not_applicable(mapping, observed) for mapping in (here, asks) if mapping)
        ):
            yield edit


def _overridden(observed: Observation, decision: Decision) -> Iterator[NotInEffect]:
    """The mappings for the instance's tags that don't govern it."""
    published = {mapping.key: mapping for mapping in observed.published}
    for lost in decision.overridden:
        found = _not_applicable(published[lost.mapping], observed) if lost.mapping in published else None
        yield NotInEffect(found[0] if found else "overridden", lost.why, lost.mapping)


def _not_applicable(mapping: PublishedMapping, observed: Observation) -> tuple[str, str] | None:
    """Why a mapping doesn't apply to the instance, as a code and in words; None if it does."""
    instance, spec, now = observed.instance, mapping.spec, observed.asked_at
    why = not_applicable_because(mapping, instance, now) if instance else ""
    if not (instance and why):
        return None
    covered = mapping.in_scope and spec.covers(instance.key.account, instance.key.region, None)
    idle = "deleted" if mapping.deleted else "expired" if spec.enabled and spec.expired(now) else "disabled"
    return (idle if mapping.is_idle(now) else "overridden" if covered else "out-of-scope"), why


# ---- the whole deployment ----


def withheld(deployment: Deployment) -> str:
    """Why nothing may be changed now, and who claims to have switched it, when and why; empty when it may."""
    control = deployment.app.state.read([], []).control
    found = control.withholds(deployment.settings.mode)
    if not found:
        return ""
    # Without a mode in the item it is the deployment's own.
    switched = found.code == "paused" or (found.code == "observed" and control.mode)
    return f"{found.reason}{Claim.read(deployment, control) if switched else ''}"


# The newest writes of the control item in which the one is looked for that switched it.
_SWITCHES = 20


@dataclass(frozen=True, slots=True)
class Claim:
    """Who claims to have paused changes, or to have set the mode, when and why; each empty if nobody does."""

    by: str = ""
    at: str = ""
    reason: str = ""

    @classmethod
    def read(cls, deployment: Deployment, control: Control) -> Self:
        """Read it in the history, which also knows plain writes; the item itself is known first."""
        part, entries = 0 if control.paused else 2, list[layout.Item]()
        with suppress(AccessDeniedError):
            entries = deployment.app.store.history(layout.CONTROL_REPORTED[0], _SWITCHES)
        for entry in entries:
            before, after = (str(entry[name]).partition(", ")[part] for name in ("from", "to"))
            if before != after == str(control).partition(", ")[part]:
                return cls(entry["claimed-by"], entry["at"], entry["claimed-reason"])
            if before != after:
                break
        item = deployment.app.store.get([layout.CONTROL]).get(layout.CONTROL, {})
        by, at, reason = (shown(in_words(item.get(name, ""))) for name in ("by", "at", "reason"))
        return cls(by, at, reason)

    def __str__(self) -> str:
        by = f"by {arn_name(self.by)}" if self.by else ""
        since = f"since {self.at[:16].replace('T', ' ')} UTC" if self.at else ""
        told = ": ".join(filter(None, (", ".join(filter(None, (since, by))), self.reason)))
        return f" ({told})" if told else ""
