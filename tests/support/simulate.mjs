// Asks iam-simulate a batch of requests: JSON on stdin, JSON on stdout. policy_simulation.py says what is in both.
// The first argument is the folder of node_modules: a plain import would look beside this file only.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const { runSimulation } = createRequire(`${process.argv[2]}/`)('@cloud-copilot/iam-simulate')
const { policies, cases } = JSON.parse(readFileSync(0, 'utf8'))
const named = (numbers) => numbers.map((number) => ({ name: `policy ${number}`, policy: policies[number] }))

const answers = []
for (const { request, identity, scps, resource } of cases) {
  const answer = await runSimulation(
    {
      request,
      identityPolicies: named(identity),
      serviceControlPolicies: scps.length > 0 ? [{ orgIdentifier: 'account', policies: named(scps) }] : [],
      resourceControlPolicies: [],
      resourcePolicy: resource === null ? undefined : policies[resource],
    },
    {},
  )
  const results = answer.resultType === 'single' ? [answer.result] : (answer.results ?? [])
  answers.push({
    error: answer.errors ?? null,
    answer: answer.overallResult ?? null,
    ignored: results.flatMap((result) => result.ignoredContextKeys),
  })
}
process.stdout.write(JSON.stringify(answers))
