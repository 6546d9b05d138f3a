"""A month of what does something alike: an AWS Config rule with remediation, and c7n in Lambda mode."""

from collections import Counter

from bench.assumed import CALL, COLD, MONTH, Fleet
from bench.bill import MEMORY, Usage, invocations


def config_rule(fleet: Fleet) -> Usage:
    """AWS Config: a recorder of instances alone, one custom rule that each change triggers, and remediation.

    A launch is one item, with its tags. A change of ours is one to record and to judge, too. Assumed: five steps.
    """
    judged = fleet.events - fleet.happenings["wait"] + fleet.changes
    used = invocations(judged, COLD + 2 * CALL, 200, "x86")
    steps = 5 * fleet.changes
    return used + Counter({"config_items": judged, "config_evaluations": judged, "automation_steps": steps})


def custodian(fleet: Fleet, sweep: int) -> Usage:
    """c7n in Lambda mode: for each role a policy on starts, one on tag calls, and one every `sweep` minutes.

    `set-instance-profile` takes one name (c7n/resources/ec2.py), so each row is a policy, and each event wakes all.
    """
    starts = fleet.instances * (fleet.launches + fleet.restarts)
    tags = fleet.instances * (fleet.launches + fleet.role_changes + fleet.other_tags)
    used = invocations(fleet.rows * (starts + tags), COLD + CALL, 500, "x86")
    used += Counter({"lambda_x86_gb_seconds": fleet.changes * 2 * CALL * MEMORY})
    runs = fleet.rows * MONTH / sweep
    return used + invocations(runs, COLD + CALL + 0.001 * fleet.instances / fleet.rows, 500, "x86")
