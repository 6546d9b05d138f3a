"""What CloudFormation made: the stack, its rules, its functions and their event sources, its alarms and subscribers."""

from contextlib import suppress

from rolekeeper.aws.errors import NotFoundError
from rolekeeper.model.problem import advice, typed
from rolekeeper_cli.aws.deployment import Deployment, Resource
from rolekeeper_cli.deploy.parameters import parameters
from rolekeeper_cli.doctor.view import Finding, Findings, fail, warn
from rolekeeper_cli.errors import ConfigurationError
from rolekeeper_cli.shell.layout import several

# What this version's template has; a test compares them.
OUTPUTS = frozenset(
    {"MappingTable", "StateTable", "WorkQueue", "DeadLetterQueue", "RetryStateMachine", "AlarmTopic", "Version"}
)
# Those that only a hub of an organization has.
HUB_OUTPUTS = frozenset({"SpokeBus", "HubReaders", "HubChangers", "HubNotifiers"})
# CloudFormation user guide, "Stack status codes".
_DEPLOY = typed("rolekeeper deploy")
_GOOD = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
# The stack is as it was before the attempt.
_ROLLED_BACK = frozenset({"UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"})

# What runs beside the workers: functions; a hub's executions in many accounts, with so many runs each. Our part of all.
_OTHERS, _EXECUTIONS, IN_ACCOUNTS, _OURS = 4, 3, 32, 0.8


def stack(deployment: Deployment) -> Findings:
    found = deployment.stack
    events = typed(f"aws cloudformation describe-stack-events --stack-name {found.name}")
    remedy = advice("see why: ", events, "; then: ", _DEPLOY)
    if found.status in _ROLLED_BACK:
        yield warn(f"the last change of the stack was undone: it is {found.status}", remedy)
    elif found.status.endswith("_IN_PROGRESS"):
        yield warn(f"the stack is being changed: it is {found.status}", "look again when that is done")
    elif found.status not in _GOOD:
        yield fail(f"the stack is {found.status}", remedy)
    serves_others = bool(found.parameters.get("OrganizationId"))
    if missing := sorted((OUTPUTS | HUB_OUTPUTS if serves_others else OUTPUTS) - found.outputs.keys()):
        yield fail(f"the stack is older than this command: it has no output {several(missing)}", _DEPLOY)
    if missing := sorted(parameters().keys() - found.parameters.keys()):
        yield warn(f"the stack is older than this command: it has no parameter {several(missing)}", _DEPLOY)
    if beyond := sorted(
        (found.outputs.keys() - OUTPUTS - HUB_OUTPUTS) | (found.parameters.keys() - parameters().keys())
    ):
        what = f"the stack is newer than this command, which doesn't know its {several(beyond)}"
        yield warn(what, "use the command of the version that is deployed")
    return f"stack {found.name} is {found.status}, with all its outputs and parameters"


def rules(deployment: Deployment) -> Findings:
    found = deployment.of("AWS::Events::Rule")
    for each in found:
        # The id of a rule that isn't on the default bus is BUS|NAME.
        bus, _, name = each.id.rpartition("|")
        try:
            rule = deployment.ask("events:DescribeRule", each.id, Name=name, EventBusName=bus or "default")
        except NotFoundError:
            yield _gone("rule", each)
            continue
        if rule["State"] == "DISABLED":
            on_bus = f" --event-bus-name {bus}" if bus else ""
            remedy = typed(f"aws events enable-rule --name {name}{on_bus}")
            yield fail(f"rule {each.name} is disabled, so its events are lost", remedy)
    return f"all rules are enabled: {len(found)}"


def functions(deployment: Deployment) -> Findings:
    found = deployment.of("AWS::Lambda::Function")
    for each in found:
        try:
            answer = deployment.ask("lambda:GetFunction", each.id, FunctionName=each.id)
        except NotFoundError:
            yield _gone("function", each)
            continue
        is_ = answer["Configuration"]
        if is_["State"] != "Active":
            why = is_.get("StateReason") or "Lambda doesn't say why"
            remedy = typed(f"aws lambda get-function --function-name {each.id}")
            yield fail(f"function {each.name} is {is_['State']}: {why}", remedy)
        if is_.get("LastUpdateStatus") == "Failed":
            why = is_.get("LastUpdateStatusReason") or "Lambda doesn't say why"
            yield fail(f"the last update of function {each.name} failed: {why}", _DEPLOY)
        # With a concurrency of 0 Lambda refuses every run (Lambda developer guide, "Configuring reserved concurrency").
        if answer.get("Concurrency", {}).get("ReservedConcurrentExecutions") == 0:
            remedy = typed(f"aws lambda delete-function-concurrency --function-name {each.id}")
            yield fail(f"function {each.name} is switched off: its reserved concurrency is 0", remedy)
    return f"all functions are active: {len(found)}"


def concurrency(deployment: Deployment) -> Findings:
    left = deployment.ask("lambda:GetAccountSettings", "*")["AccountLimit"]["UnreservedConcurrentExecutions"]
    given = {name: parameter.get("Default", "") for name, parameter in parameters().items()}
    with suppress(ConfigurationError):  # it isn't deployed yet
        given |= deployment.stack.parameters
    needed = int(given["Workers"]) + _OTHERS + (_EXECUTIONS * IN_ACCOUNTS if given["OrganizationId"] else 0)
    if left * _OURS < needed:
        what = f"Lambda leaves the account {left:,} runs at once, of which Rolekeeper may take {needed:,}"
        yield warn(what, "ask AWS for more: Service Quotas, Lambda, Concurrent executions")
    return f"Lambda leaves the account {left:,} runs at once: Rolekeeper may take {needed:,}"


def sources(deployment: Deployment) -> Findings:
    """Whether Lambda invokes the functions for the work queue and the tables' streams."""
    found = deployment.of("AWS::Lambda::EventSourceMapping")
    for each in found:
        try:
            state = deployment.ask("lambda:GetEventSourceMapping", each.id, UUID=each.id)["State"]
        except NotFoundError:
            yield _gone("event source mapping", each)
            continue
        if state in {"Creating", "Enabling", "Updating"}:
            yield warn(f"event source mapping {each.name} is {state}", "look again in a minute")
        elif state != "Enabled":
            remedy = typed(f"aws lambda update-event-source-mapping --uuid {each.id} --enabled")
            yield fail(f"event source mapping {each.name} is {state}, so its function isn't invoked", remedy)
    return f"all event source mappings are enabled: {len(found)}"


def alarms(deployment: Deployment) -> Findings:
    found = deployment.of("AWS::CloudWatch::Alarm")
    for each in found:
        alarm = deployment.alarms.get(each.name)
        if alarm is None:
            yield _gone("alarm", each)
        elif alarm["StateValue"] == "ALARM":
            yield fail(f"alarm {each.id} rings: {alarm['StateReason']}", f"see {deployment.runbook(each.id)}")
    return f"no alarm rings, of {len(found)}"


def subscribers(deployment: Deployment) -> Findings:
    topic = deployment.output("AlarmTopic")
    counts = deployment.ask("sns:GetTopicAttributes", topic, TopicArn=topic)["Attributes"]
    confirmed, pending = int(counts["SubscriptionsConfirmed"]), int(counts["SubscriptionsPending"])
    if not confirmed:
        waits = f"; to be confirmed in a mail that AWS sent: {pending}" if pending else ""
        remedy = typed(f"aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint ADDRESS")
        yield warn(f"the alarm topic has no subscribers{waits}", remedy)
    return f"alarms have a subscriber: {confirmed}"


def _gone(kind: str, resource: Resource) -> Finding:
    """A resource that was deleted by hand. CloudFormation notices only if it is asked to look."""
    remedy = advice("have it made again: ", typed("rolekeeper deploy --revert-drift"))
    return fail(f"{kind} {resource.name} ({resource.id}) was deleted outside CloudFormation", remedy)
