"""Mails: a text for each event that a person has to act on, published directly to the alarm topic.

An alarm can't say which row or permission it is about; these mails do. EventBridge could send them by a rule, but its
input transformer doesn't escape what it takes out of an event, and a text with a quote in it is never delivered
(AWS_FACTS.md "Events"). For instances (parked, contested, refused) there is only an alarm: one mistake in IAM can
affect a whole fleet at once, and nobody reads a thousand mails.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

from rolekeeper.aws.errors import classified
from rolekeeper.model.text import SENTENCE, key_text, shown

if TYPE_CHECKING:
    from types_boto3_sns.client import SNSClient

# SNS API reference, `Publish`: a subject is ASCII without line breaks, of at most 100 characters.
SUBJECT = 100

NOT_PUBLISHED = """\
The mapping {mapping} is not in effect as its row says.

Why, and what to do: {reason}

No instance changes because of this edit; what was published before stays in effect.

See it: rolekeeper mapping get {argument}
Cause: {cause}. Edited by (claimed): {claimed-by}
"""
# By the event's detail-type.
TEXTS = {
    "Mode Changed": """\
A deployment changed the mode from {from} to {to}.

The mode that is in effect is {in-effect}: {means}.

If that isn't intended: rolekeeper mode enforce, or rolekeeper mode observe. It takes effect at once, needs no
deployment, and a later deployment doesn't change it.
""",
    "Control Changed": """\
The control item was written. It was: {from}. It is: {to}.

In effect now: {in-effect}.

If that isn't intended: rolekeeper mode, or rolekeeper resume. Then find out who wrote it, from CloudTrail's data events
of the state table. Its own words are only claims: by {claimed-by}, because: {claimed-reason}
""",
    "Permission Missing": """\
Rolekeeper was refused {action} on {resource}.

Until it is allowed, the instances and mappings that need it stay as they are. Check whether the resource is under
Rolekeeper's role path, and whether a service control policy, a permissions boundary or a change to Rolekeeper's own
roles denies {action}. Once it is allowed, the next sweep continues automatically.

AWS says: {aws-says}
""",
    "Mapping Held": f"""{NOT_PUBLISHED}Permissions that instances would gain: {{gained}}
Permissions that they would lose: {{lost}}
Look and approve: rolekeeper mapping approve {{argument}}; or drop it: rolekeeper mapping discard {{argument}}
If nobody does, it is published once it changes few enough instances.
Runbook: docs/runbook.md#mapping-held
""",
    "Mapping Expiring": """\
The mapping {mapping} is about to expire: {reason}.

If that isn't intended, give the row a later date in expires_at, or remove that column. Mailed once for each revision.

See it: rolekeeper mapping get {argument}
""",
    "Mapping Halted": """\
The rollout of {mapping} stopped, and changes nothing more.

Why, and what to do: {reason}

What it moved keeps the new role, and everything else the former one, until a person has it go on or takes it back.

See it: rolekeeper mapping get {argument}
Runbook: docs/runbook.md#mapping-halted
""",
    "Mapping Rejected": NOT_PUBLISHED,
    "Mapping Conflict": NOT_PUBLISHED,
    "Mapping Suspended": f"""{NOT_PUBLISHED}Runbook: docs/runbook.md#mapping-suspended
""",
}


@dataclass(frozen=True, slots=True)
class Mailer:
    """Publishes mails to the alarm topic of one deployment; `client` is asked for when there is one to publish."""

    client: "Callable[[], SNSClient]"
    topic_arn: str
    where: str
    now: Callable[[], datetime]

    def mail(self, event: str, detail: Mapping[str, Any]) -> dict[str, str]:
        """Write the mail for an event, whose detail-type is one of TEXTS, as SNS takes it."""
        mapping = key_text(detail.get("tag-key", ""), detail.get("tag-value", ""))
        effect, by = detail.get("effect", {}), detail.get("claimed-by") or "unknown"
        permissions = {name: "; ".join(effect.get(name, ())) or "none" for name in ("gained", "lost")}
        facts = {**permissions, **detail, "mapping": mapping, "argument": quote(mapping), "claimed-by": by}
        texts = {name: shown(value, SENTENCE) for name, value in facts.items() if isinstance(value, str)}
        values = defaultdict(str, texts)
        about = {"Permission Missing": values["action"]}.get(event, values["to"] or values["mapping"])
        place = f"In {self.where}, at {self.now():%Y-%m-%dT%H:%M:%SZ}."
        text = f"{event}\n\n{TEXTS[event].format_map(values)}\n{place}\n"
        subject = f"Rolekeeper: {event}: {about}".encode("ascii", "replace").decode()
        return {"Subject": subject if len(subject) <= SUBJECT else f"{subject[: SUBJECT - 3]}...", "Message": text}

    def publish(self, mail: Mapping[str, Any]) -> None:
        with classified("sns:Publish", self.topic_arn):
            self.client().publish(TopicArn=self.topic_arn, **mail)
