"""Mails: a text for each event that a person has to act on, published directly to the alarm topic.

An alarm can't say which row or permission it is about; these mails do. EventBridge could send them by a rule, but its
input transformer doesn't escape what it takes out of an event, and a text with a quote in it is never delivered
(AWS_FACTS.md "Events"). For instances (parked, contested, refused) there is only an alarm: one mistake in IAM can
affect a whole fleet at once, and nobody reads a thousand mails.
"""

import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rolekeeper.aws.errors import classified
from rolekeeper.model.text import SENTENCE, key_text, shown

if TYPE_CHECKING:
    from types_boto3_sns.client import SNSClient

# SNS API reference, `Publish`: a subject is ASCII without line breaks, of at most 100 characters.
SUBJECT = 100


@cache
def texts() -> Mapping[str, str]:
    """Read the text of each mail, by the event's detail-type."""
    found = tomllib.loads(Path(__file__).with_name("mails.toml").read_text())
    common = found.pop("not published")
    return {event: text.replace("{not published}", common) for event, text in found.items()}


@dataclass(frozen=True, slots=True)
class Mailer:
    """Publishes mails to the alarm topic of one deployment; `client` is asked for when there is one to publish."""

    client: "Callable[[], SNSClient]"
    topic_arn: str
    where: str
    now: Callable[[], datetime]

    def mail(self, event: str, detail: Mapping[str, Any]) -> dict[str, str]:
        """Write the mail for an event, whose detail-type is one of `texts`, as SNS takes it."""
        mapping = key_text(detail.get("tag-key", ""), detail.get("tag-value", ""))
        effect, by = detail.get("effect", {}), detail.get("claimed-by") or "unknown"
        permissions = {name: "; ".join(effect.get(name, ())) or "none" for name in ("gained", "lost")}
        facts = {**permissions, **detail, "mapping": mapping, "argument": quote(mapping), "claimed-by": by}
        plain = {name: shown(value, SENTENCE) for name, value in facts.items() if isinstance(value, str)}
        values = defaultdict(str, plain)
        about = {"Permission Missing": values["action"]}.get(event, values["to"] or values["mapping"])
        place = f"In {self.where}, at {self.now():%Y-%m-%dT%H:%M:%SZ}."
        text = f"{event}\n\n{texts()[event].format_map(values)}\n{place}\n"
        subject = f"Rolekeeper: {event}: {about}".encode("ascii", "replace").decode()
        return {"Subject": subject if len(subject) <= SUBJECT else f"{subject[: SUBJECT - 3]}...", "Message": text}

    def publish(self, mail: Mapping[str, Any]) -> None:
        with classified("sns:Publish", self.topic_arn):
            self.client().publish(TopicArn=self.topic_arn, **mail)
