"""Deliberate faults that the simulation can't see, each with the tests that have to find it."""

from simulation.mutants import Edit, Mutant


def _mutant(name: str, module: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(module, old, new),), tests=tests)


# ---- permissions ----
_COMPARE = "rolekeeper.permissions.compare"
_BROADNESS = "tests/unit/test_broadness.py"
PERMISSIONS: tuple[Mutant, ...] = (
    _mutant(
        "takes automations for ordinary",
        _COMPARE,
        "ssm:CreateAssociationBatch\n        ssm:StartAutomationExecution ssm:UpdateAssociation",
        "ssm:CreateAssociationBatch\n        ssm:UpdateAssociation",
        _BROADNESS,
    ),
    _mutant(
        "takes one half of a path for all of it",
        _COMPARE,
        "chain.from_iterable(parts) if all(parts) else ()",
        "chain.from_iterable(parts)",
        _BROADNESS,
    ),
    _mutant(
        "overlooks what a deny takes of a wildcard",
        _COMPARE,
        "rule.conditions).beyond(held.denied)",
        "rule.conditions).beyond(())",
        _BROADNESS,
    ),
    _mutant(
        "lets a role write in the organization",
        _COMPARE,
        "(IAM_WRITES,), (ORGANIZATION_WRITES,), *",
        "(IAM_WRITES,), *",
        _BROADNESS,
    ),
    _mutant(
        "overlooks a resource of two parts with a colon",
        _COMPARE,
        'f"{_ANY_NAME}/{_ANY_NAME}", f"{_ANY_NAME}:{_ANY_NAME}")',
        'f"{_ANY_NAME}/{_ANY_NAME}")',
        _BROADNESS,
    ),
    _mutant(
        "asks for a session of two hours",
        "sessions",
        "LASTS, LEFT = 3_600,",
        "LASTS, LEFT = 7_200,",
        "tests/unit/test_sessions.py",
    ),
    _mutant(
        "goes on with a session that ends within an invocation",
        "sessions",
        "3_600, timedelta(minutes=16)",
        "3_600, timedelta(minutes=5)",
        "tests/unit/test_sessions.py",
    ),
    _mutant(
        "asks a target that gave no answer again at once",
        "rolekeeper.fleet.targets",
        "SILENT = timedelta(minutes=1)",
        "SILENT = timedelta(seconds=5)",
        "tests/unit/test_other_targets.py",
    ),
    _mutant(
        "gives all that wait for a minute the same second",
        "rolekeeper.instances.window",
        "SPREAD = 20",
        "SPREAD = 0",
        "tests/unit/test_window.py",
    ),
    _mutant(
        "takes passing a role for ordinary",
        _COMPARE,
        """"Pass role with star in resource"': "iam:PassRole",""",
        """"Pass role with star in resource"': "iam:TagRole",""",
        _BROADNESS,
    ),
)


# ---- deciding ----
DECIDING: tuple[Mutant, ...] = (
    _mutant(
        "lets the tag that excludes an instance keep it from a quarantine",
        "rolekeeper.instances.decide",
        "    if ranked.winner and ranked.winner.spec.role == NO_ROLE:",
        "    if False:",
        "tests/unit/test_quarantine.py",
    ),
    _mutant(
        "quarantines an excluded instance by a mapping that doesn't win",
        "rolekeeper.instances.decide",
        "    if ranked.winner and ranked.winner.spec.role == NO_ROLE:",
        "    if ranked.winner and any(each.spec.role == NO_ROLE for each in published):",
        "tests/unit/test_quarantine.py",
    ),
    _mutant(
        "asks for keys that a policy's wildcard doesn't match",
        "rolekeeper.storage.layout",
        "    return unplain_at(pk) is None and len(",
        "    return len(",
        "tests/unit/test_observe.py",
    ),
    _mutant(
        "lets one key that is refused take its batch with it",
        "rolekeeper.storage.table",
        "                if refused is None or len(refused) == MOST_REFUSED:",
        "                if True:",
        "tests/unit/test_observe.py",
    ),
    _mutant(
        "narrows a read to its last key though all is refused",
        "rolekeeper.storage.table",
        "MOST_REFUSED = 5",
        "MOST_REFUSED = 1_000",
        "tests/unit/test_observe.py",
    ),
    _mutant(
        "lets a digit part a word of two alphabets",
        "rolekeeper.mappings.rows.columns",
        'in "LNM"):',
        'in "LM"):',
        "tests/unit/test_mappings.py",
    ),
)


# ---- rows ----
_MAPPINGS = "rolekeeper.mappings."
_HOLDING, _CONFLICTS = "tests/unit/test_holding.py", "tests/unit/test_conflict_notes.py"
ROWS: tuple[Mutant, ...] = (
    _mutant(
        "counts nothing of what an edit does when it expires",
        f"{_MAPPINGS}impact",
        "        if edit.ends_at is None:\n            return\n",
        "        return\n",
        "tests/unit/test_impact.py",
        _HOLDING,
    ),
    _mutant(
        "counts no role that a mapping left with instances without its tag",
        f"{_MAPPINGS}assess",
        "takes = before is not None and gives_up(before.spec, candidate.spec)",
        "takes = False",
        "tests/unit/test_impact.py",
        _HOLDING,
    ),
    _mutant(
        "looks for the profile of the last revision alone",
        f"{_MAPPINGS}revisions",
        'return frozenset(str(each.get("profile_arn", "")) for each in revisions) - {""}',
        'return frozenset(str(each.get("profile_arn", "")) for each in list(revisions)[-1:])',
        _HOLDING,
    ),
    _mutant(
        "looks for roles that were kept only in the scope of now",
        f"{_MAPPINGS}copies",
        "bool(given or any(map(spoke.is_in, specs)))",
        "any(map(spoke.is_in, specs))",
        "tests/unit/test_many_accounts.py",
    ),
    _mutant(
        "lets an approval pay only for what happens now",
        f"{_MAPPINGS}impact",
        "return self.replace + self.detach + self.later[Action.REPLACE] + self.later[Action.DETACH]",
        "return self.replace + self.detach",
        _HOLDING,
        "tests/unit/test_impact_report.py",
    ),
    _mutant(
        "mails at each sweep that a mapping soon expires",
        f"{_MAPPINGS}revisions",
        "update = Update().set({END_REPORTED: True})",
        "update = Update().set({UNSENT: True})",
        "tests/unit/test_mails.py",
    ),
    _mutant(
        "says of whichever edit is held how another one ended",
        f"{_MAPPINGS}revisions",
        'update = Update().set({layout.OUTCOME: outcome}).only_if("revision", "=", held.revision)',
        "update = Update().set({layout.OUTCOME: outcome})",
        _HOLDING,
    ),
    _mutant(
        "notes a conflict with a rival that is published anew by then",
        f"{_MAPPINGS}revisions",
        'frozenset({layout.mapping_pk(row)})).only_if("revision", "=", other.revision)',
        "frozenset({layout.mapping_pk(row)}))",
        _CONFLICTS,
    ),
    _mutant(
        "notes a conflict with a rival as it was seen first",
        f"{_MAPPINGS}publish",
        "elif stored.published is None or stored.published.revision != conflict.other.revision:",
        "elif stored.published is None:",
        _CONFLICTS,
    ),
    _mutant(
        "writes a late verdict over the status of a newer row",
        f"{_MAPPINGS}table",
        "update = _if_as_read(row, (*VERDICT, *gone)).remove(*gone)",
        "update = _if_as_read(row, gone).remove(*gone)",
        "tests/unit/test_publish.py",
    ),
)


# ---- targets ----
TARGETS: tuple[Mutant, ...] = (
    _mutant(
        "trusts what a process remembers of a target whose item is gone",
        "rolekeeper.instances.reconcile",
        "if not observed.control.registered:",
        "if False:",
        "tests/unit/test_other_targets.py",
    ),
    _mutant(
        "gives roles by the copies of a target that came back before they are checked",
        "rolekeeper.storage.state",
        "swept = swept and all(layout.LAST_SWEEP in items.get(key, {}) for key in registry)",
        "swept = swept and all(key in items for key in registry)",
        "tests/unit/test_other_targets.py",
    ),
    _mutant(
        "lets a sweep end a registration that it didn't begin with",
        "rolekeeper.fleet.targets",
        'self._update(target, update.only_if(_REGISTERED, "=", since))',
        "self._update(target, update)",
        "tests/unit/test_targets.py",
    ),
    _mutant(
        "ends a target's first sweep with rows that weren't checked",
        "rolekeeper.fleet.target_sweep",
        "if not self.result.rest.first:",
        "if True:",
        "tests/unit/test_target_sweep.py",
    ),
    _mutant(
        "retries the messages of an unknown target",
        "rolekeeper.fleet.targets",
        "if self.registry.get(target):\n                raise",
        "if target:\n                raise",
        "tests/unit/test_other_targets.py",
    ),
    _mutant(
        "never probes an unknown target again",
        "on_schedule",
        "app.targets.probe_unknown(correlation_id)",
        "pass",
        "tests/unit/test_other_targets.py",
    ),
    _mutant(
        "keeps the sessions in a target that refused",
        "rolekeeper.app",
        "self.forget(self.settings)",
        "pass",
        "tests/unit/test_other_targets.py",
    ),
    _mutant(
        "misses that the later sweeps of a target don't end",
        "rolekeeper.fleet.target_sweep",
        "if each.unswept >= OVERDUE",
        "if each.unswept >= OVERDUE and each.last_sweep is None",
        "tests/unit/test_target_sweep.py",
    ),
    _mutant(
        "has a spoke say each hour that it is there",
        "spoke.yaml",
        "rate(1 day)",
        "rate(1 hour)",
        "tests/unit/test_spoke_template.py",
    ),
)


# ---- edits ----
EDITS: tuple[Mutant, ...] = (
    _mutant(
        "counts nothing where the role can't be used yet",
        "rolekeeper.mappings.impact",
        'replace(edit.candidate, suspended_because="")',
        "edit.candidate",
        "tests/unit/test_many_accounts.py",
    ),
)
# ---- pace ----
PACE: tuple[Mutant, ...] = (
    Mutant(
        "takes its share of the pace for what succeeds only",
        (
            Edit("rolekeeper.instances.apply", "        self.pace.take()\n        try:", "        try:"),
            Edit(
                "rolekeeper.instances.apply", "        return made\n", "        self.pace.take()\n        return made\n"
            ),
        ),
        tests=("tests/unit/test_pace.py",),
    ),
    _mutant(
        "doesn't count what the SDK sent again",
        "rolekeeper.instances.apply",
        "        if made.retries:\n",
        "        if False:\n",
        "tests/unit/test_pace.py",
    ),
    _mutant(
        "doesn't count what the SDK sent again and EC2 then refused",
        "rolekeeper.instances.apply",
        "            if error.throttled or error.possibly_applied:\n",
        "            if error.throttled:\n",
        "tests/unit/test_pace.py",
    ),
    _mutant(
        "gives turns at once",
        "rolekeeper.instances.window",
        "            return leaving > waiting(turn)\n",
        "            return turn == this + 1 or leaving > waiting(turn)\n",
        "tests/unit/test_window.py",
    ),
    _mutant(
        "counts no turns",
        "rolekeeper.instances.window",
        '            self.turns[key, f"w{turn}"] += 1\n',
        '            self.turns[key, f"w{turn}"] += 0\n',
        "tests/unit/test_window.py",
    ),
    _mutant(
        "gives turns back while their changes wait",
        "rolekeeper.instances.decide",
        'condition.code == "window" and not self.shown(ended)\n',
        'condition.code == "window"\n',
        "tests/unit/test_window.py",
    ),
    _mutant(
        "lets an approval pay for attaches too",
        "rolekeeper.mappings.publish",
        "impact.takes if approved else 0",
        "impact.changes if approved else 0",
        "tests/unit/test_holding.py",
    ),
    _mutant(
        "has quarantines wait behind replaces",
        "rolekeeper.instances.window",
        "        key, budget = layout.changes_key(self.target, quarantines=quarantines), layout.budget_key(mapping)\n",
        "        key, budget = layout.changes_key(self.target), layout.budget_key(mapping)\n",
        "tests/unit/test_window.py",
    ),
    _mutant(
        "sleeps for the pace of one target while others' work waits",
        "rolekeeper.instances.reconcile",
        "waits = decision.quarantines or request.put_back or not batch.shared",
        "waits = True",
        "tests/unit/test_pace.py",
    ),
)


# ---- reads ----
_READS = "tests/unit/test_reads.py"
READS: tuple[Mutant, ...] = (
    _mutant(
        "reads records as they were",
        "rolekeeper.storage.table",
        '{"Keys": wanted, "ConsistentRead": True}',
        '{"Keys": wanted, "ConsistentRead": False}',
        _READS,
    ),
    _mutant(
        "reads timers and history as they were",
        "rolekeeper.storage.table",
        "TableName=self.table, ConsistentRead=True, **arguments",
        "TableName=self.table, **arguments",
        _READS,
    ),
    _mutant(
        "judges a row as it was",
        "rolekeeper.mappings.table",
        "Key=_key(key), ConsistentRead=True)",
        "Key=_key(key))",
        _READS,
    ),
    _mutant(
        "lists the rows that there were",
        "rolekeeper.mappings.table",
        '{"ConsistentRead": True, "ProjectionExpression"',
        '{"ProjectionExpression"',
        _READS,
    ),
    _mutant(
        "plans an edit of rows as they were",
        "rolekeeper_cli.uses.rows",
        '{"Keys": wanted, "ConsistentRead": True}',
        '{"Keys": wanted}',
        _READS,
    ),
    _mutant(
        "exports the rows that there were",
        "rolekeeper_cli.uses.rows",
        "TableName=self._table, ConsistentRead=True, **start",
        "TableName=self._table, **start",
        _READS,
    ),
    _mutant(
        "takes the first page of timers and history for all",
        "rolekeeper.storage.table",
        'if "LastEvaluatedKey" not in answer:',
        "if True:",
        _READS,
    ),
    _mutant(
        "takes the first page of rows for all",
        "rolekeeper.mappings.table",
        'if "LastEvaluatedKey" not in answer:',
        "if True:",
        _READS,
    ),
    _mutant(
        "exports the first page of rows",
        "rolekeeper_cli.uses.rows",
        'if "LastEvaluatedKey" not in answer:',
        "if True:",
        _READS,
    ),
    _mutant(
        "takes a row that was left unprocessed for absent",
        "rolekeeper_cli.uses.rows",
        'wanted = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])',
        "wanted = []",
        _READS,
    ),
    _mutant(
        "takes the first page of instances for all",
        "rolekeeper.aws.ec2",
        "            if not following:",
        "            if True:",
        "tests/unit/test_scan.py",
    ),
)


# ---- noise ----
NOISE: tuple[Mutant, ...] = (
    _mutant(
        "writes a condition again at each look",
        "rolekeeper.instances.records",
        "    if shown and not watched_until:",
        "    if False:",
        "tests/unit/test_noise.py",
    ),
    _mutant(
        "reports a refusal again at each look",
        "rolekeeper.instances.records",
        'REFUSAL_EVENT if decision.action is Action.HOLD and not before else ""',
        'REFUSAL_EVENT if decision.action is Action.HOLD else ""',
        "tests/unit/test_noise.py",
    ),
    _mutant(
        "mails a missing permission again at each look",
        "rolekeeper.instances.records",
        "news = self.is_news(error) and not before",
        "news = self.is_news(error)",
        "tests/unit/test_noise.py",
    ),
    _mutant(
        "parks an instance again at each look",
        "rolekeeper.instances.records",
        "before and not before.parked and now",
        "before and now",
        "tests/unit/test_noise.py",
    ),
    _mutant(
        "starts another retry loop at each look",
        "rolekeeper.instances.records",
        "    return loop_over or not observed.watched_until(now)",
        "    return True",
        "tests/unit/test_noise.py",
    ),
    _mutant(
        "takes each refusal for another one",
        "rolekeeper.instances.records",
        "        named = (error.action, error.resource)",
        "        named = (error.action, error.resource, str(id(error)))",
        "tests/unit/test_noise.py",
    ),
    _mutant(
        "sends each event by a call of its own",
        "rolekeeper.telemetry",
        "        if batch and len(batch) < ENTRIES and",
        "        if False and",
        "tests/unit/test_noise.py",
    ),
    _mutant(
        "counts every decision for an alarm",
        "rolekeeper.telemetry",
        '(code := entry["decision"]["code"]) in COUNTED:',
        '(code := entry["decision"]["code"]) and COUNTED.setdefault(code, code):',
        "tests/unit/test_noise.py",
    ),
    _mutant(
        "reports a row's status again at each look",
        "rolekeeper.mappings.verdict",
        "        return any(_said(row, name) != self.columns[name] for name in names)",
        "        return True",
        "tests/unit/test_noise.py",
    ),
    _mutant(
        "has the sweep send what shows its condition already",
        "rolekeeper.instances.records",
        "    return bool(next_record(observed, decision, now)) or needs_watch(observed, decision, now)",
        "    return decision.action is not Action.NOTHING",
        "tests/unit/test_noise.py",
    ),
)


# ---- templates ----
_TEMPLATE, _SPOKE = "tests/unit/test_template.py", "tests/unit/test_spoke_template.py"
_MATRIX = "tests/unit/test_policy_matrix.py::test_a_role_may_do_what_its_function_does_and_no_more[tables]"
TEMPLATES: tuple[Mutant, ...] = (
    _mutant(
        "lets the retry loop end without a word at a time-out",
        "statemachines/retry.asl.json",
        '"States.TaskFailed",\n            "States.Timeout"\n          ],\n          "ResultPath": "$.error",',
        '"States.TaskFailed"\n          ],\n          "ResultPath": "$.error",',
        "tests/unit/test_retry_machine.py",
    ),
    _mutant(
        "lets a long sweep end without a word at a time-out",
        "statemachines/resume.asl.json",
        '"States.TaskFailed",\n            "States.Timeout"\n          ],\n          "ResultPath": "$.error",',
        '"States.TaskFailed"\n          ],\n          "ResultPath": "$.error",',
        "tests/unit/test_resume_machine.py",
    ),
    _mutant(
        "hands a sweep to Lambda only once",
        "template.yaml",
        "RetryPolicy: {MaximumRetryAttempts: 5,",
        "RetryPolicy: {MaximumRetryAttempts: 0,",
        _TEMPLATE,
    ),
    _mutant(
        "looks at what expires each hour",
        "template.yaml",
        "Schedule: rate(1 minute)",
        "Schedule: rate(1 hour)",
        _TEMPLATE,
    ),
    _mutant(
        "takes the number of changes for their per cent",
        "template.yaml",
        "MAX_CHANGES_PERCENT: !Ref MaxChangesPercent",
        "MAX_CHANGES_PERCENT: !Ref MaxChangesPerEdit",
        _TEMPLATE,
    ),
    _mutant(
        "rings for many retries after an hour only",
        "template.yaml",
        "      Period: 300\n      EvaluationPeriods: 3\n      Threshold: 10\n",
        "      Period: 300\n      EvaluationPeriods: 3\n      Threshold: 1000\n",
        "tests/unit/test_alarms.py",
    ),
    _mutant(
        "lets administrators write what is published",
        "template.yaml",
        "{dynamodb:LeadingKeys: [approval#*, control, instance#*]}",
        "{dynamodb:LeadingKeys: [approval#*, control, instance#*, mapping#*]}",
        _MATRIX,
    ),
    _mutant(
        "lets anybody take an approval back",
        "template.yaml",
        "dynamodb:DeleteItem],\n               Condition: {ForAnyValue:StringLike: {dynamodb:LeadingKeys: approval#*}",
        "dynamodb:UpdateItem],\n               Condition: {ForAnyValue:StringLike: {dynamodb:LeadingKeys: approval#*}",
        _MATRIX,
    ),
    _mutant(
        "lets people write grants beside their pins",
        "template.yaml",
        "expires, change:*, version, writes]",
        "expires, change:*, grant:*, version, writes]",
        _MATRIX,
    ),
    _mutant(
        "lets a take-over through that names no profile",
        "template.yaml",
        "Sid: TakeOverByReplace, Effect: Allow, Action: ec2:ReplaceIamInstanceProfileAssociation,\n"
        "               Resource: !Sub 'arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*',\n"
        "               Condition: {ArnLike: ",
        "Sid: TakeOverByReplace, Effect: Allow, Action: ec2:ReplaceIamInstanceProfileAssociation,\n"
        "               Resource: !Sub 'arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*',\n"
        "               Condition: {ArnLikeIfExists: ",
        _TEMPLATE,
    ),
    _mutant(
        "takes events of any role of the organization",
        "template.yaml",
        "role/${Namespace}-forwarder-*'",
        "role/*'",
        _SPOKE,
    ),
    _mutant(
        "makes the forwarder in the home Region alone",
        "spoke.yaml",
        "    Condition: IsNotTheHub\n    Properties:\n      RoleName: !Sub ${Namespace}-forwarder-${AWS::Region}",
        "    Condition: IsHome\n    Properties:\n      RoleName: !Sub ${Namespace}-forwarder-${AWS::Region}",
        _SPOKE,
    ),
    _mutant(
        "lets a hub read what every role of a spoke may do",
        "spoke.yaml",
        ":role${RolePath}*'}\n              - {Sid: SeePolicies,",
        ":role/*'}\n              - {Sid: SeePolicies,",
        _SPOKE,
    ),
)


# ---- command ----
COMMAND: tuple[Mutant, ...] = (
    _mutant(
        "takes any organization where it may not be asked for",
        "rolekeeper_cli.deploying.deploy",
        "    if not former or dry_run:\n        return\n",
        "    return\n",
        "tests/unit/cli/test_deploying.py",
    ),
    _mutant(
        "makes a hub of an organization that isn't the account's",
        "rolekeeper_cli.deploying.deploy",
        "    if own != wanted:\n",
        "    if not own:\n",
        "tests/unit/cli/test_deploying.py",
    ),
    _mutant(
        "takes the hub's word for what an account allows",
        "rolekeeper_cli.deploying.spoke",
        "if name in present.parameters and name not in own}",
        "if name not in asked}",
        "tests/unit/cli/test_spoke.py",
    ),
    _mutant(
        "takes a spoke's readers away when none are named",
        "rolekeeper_cli.spoke",
        'listed(given["readers"]) if given["readers"] else None,',
        'listed(given["readers"]),',
        "tests/unit/cli/test_spoke.py",
    ),
    _mutant(
        "asks before it builds",
        "rolekeeper_cli.deploying.artifacts",
        '        _make(Path(folder))\n        yield Path(folder) / "artifacts"\n',
        '        yield Path(folder) / "artifacts"\n        _make(Path(folder))\n',
        "tests/unit/cli/test_deploying.py",
    ),
    _mutant(
        "says nothing of credentials that outlive a detach",
        "rolekeeper_cli.uses.pins",
        'if plan.wish.verb != "detach" or not plan.carries:',
        'if plan.wish.verb != "attach" or not plan.carries:',
        "tests/unit/cli/test_pins.py",
    ),
)


TESTED = (
    *PERMISSIONS,
    *DECIDING,
    *ROWS,
    *TARGETS,
    *EDITS,
    *PACE,
    *READS,
    *NOISE,
    *TEMPLATES,
    *COMMAND,
)
