"""The id that CloudFormation gives a rule: its name, and of one that isn't on the default bus `BUS|NAME`.

Users describe it (aws-cloudformation/cloudformation-coverage-roadmap #1131, #1949); AWS shows the default bus alone.
ministack gives every rule its name, by which EventBridge doesn't find one of another bus.
"""
# ruff: noqa: SLF001 - ministack has no public API inside its process; the release is pinned

from typing import Any

from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]


def install() -> None:
    """Correct this process; call once, before the first request."""
    rule = provisioners._RESOURCE_HANDLERS["AWS::Events::Rule"]
    create, update, delete = rule["create"], rule["update"], rule["delete"]

    def create_rule(logical_id: str, props: dict[str, Any], *rest: Any) -> tuple[str, Any]:
        name, attributes = create(logical_id, props, *rest)
        return _id(name, props), attributes

    def update_rule(made: str, old: dict[str, Any], props: dict[str, Any], *rest: Any) -> tuple[str, Any]:
        name, attributes = update(_name(made), old, props, *rest)
        return _id(name, props), attributes

    def delete_rule(made: str, props: dict[str, Any]) -> None:
        delete(_name(made), props)

    rule.update(create=create_rule, update=update_rule, delete=delete_rule)


def _id(name: str, props: dict[str, Any]) -> str:
    bus = provisioners._eb_rule_bus_name(props)
    return name if bus == "default" else f"{bus}|{name}"


def _name(made: str) -> str:
    return made.rpartition("|")[2]
