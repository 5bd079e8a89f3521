# Headrace: every command of the project. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# BUILD_FLAGS=--network=host, for instance, where a registry is reached by a proxy on this machine.
DOCKER ?= docker
IMAGE ?= headrace:dev
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo -changed)

# The oldest Helm 3 that the chart supports, and the newest.
HELM3 := v3.17.4 v3.22.0

.PHONY: help new demo up test unit coverage chaos sim soak house e2e check report-tools chart-tools docs docs-site image sbom kind-up kind-down kind-test kind-tests format bench-smoke bench-backlog bench-controller bench-simulate bench-cluster-step lock clean

help: ## list these commands
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/; s/\$$\$$/$$/g' | expand -t 20

# The locks are whole, so pip resolves nothing: asked for `coverage[toml]`, it would meet tomorrow's release without a hash.
# An environment that was broken off half-made has no pip, and would stay so: it is created again, or removed.
$(VENV)/run.stamp: requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	  echo "$(VENV) cannot be made: Debian and Ubuntu have what it needs in a package of its own: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	touch $@

report-tools: $(VENV)/dev.stamp ## what `headrace simulate --out` draws with, and the other tools of the development

demo: $(VENV)/run.stamp ## send real work through the embedded system, and watch it
	$(BIN)/headrace demo

new: $(VENV)/dev.stamp ## a project of your own: make new NAME=my-team-jobs DEST=../my-team-jobs
	$(BIN)/headrace new $(NAME) $(DEST)

up: $(VENV)/run.stamp ## run the embedded system until Ctrl-C
	$(BIN)/headrace up

# Two at a time: most tests wait for a server more than they compute. A file runs in one worker, or what shares a slow server;
# in the order of the folders, in which the slowest come first.
PYTEST := $(BIN)/python -m pytest
SPREAD := -n 2 --dist loadgroup --no-loadscope-reorder
SCHEDULES := tests/simulation/test_schedules.py tests/simulation/mutants
CLUSTER := tests/cluster tests/e2e
NODES := tests/kind
TESTED := -m "not chaos or cell" $(addprefix --ignore=,$(SCHEDULES) $(CLUSTER) $(NODES))

test: $(VENV)/dev.stamp ## all tests whose servers are here; HEADRACE_TEST_REQUIRE=postgres makes a skip a failure
	$(PYTEST) $(SPREAD) $(TESTED)

unit: $(VENV)/dev.stamp ## the tests that need nothing beside Python
	$(PYTEST) $(patsubst 2,3,$(SPREAD)) -q tests/unit tests/properties

coverage: $(VENV)/dev.stamp ## which lines and branches `make test` runs: it takes twice as long
	$(PYTEST) $(SPREAD) $(TESTED) --timeout=240 --cov --cov-report=term:skip-covered

chaos: $(VENV)/dev.stamp ## the matrix of faults, printed, and all else that is killed and stalled (RabbitMQ, Redis, PostgreSQL, root; 30 minutes)
	$(PYTEST) $(SPREAD) tests/chaos

house: ## unit and contract tests on every Python that is supported; PYTHONS names them
	.ci/house $(PYTHONS)

sim: $(VENV)/dev.stamp ## 2,000 schedules of faults through the whole system in virtual time, on all cores
	HEADRACE_SIM_SCHEDULES=2000 $(BIN)/python -m pytest -q --durations=0 $(SCHEDULES)

soak: $(VENV)/dev.stamp ## schedules until Ctrl-C; each failure with its seed and its shortest schedule
	$(BIN)/python -m tests.simulation.soak

e2e: $(VENV)/dev.stamp ## the tests on a Kubernetes cluster (KUBECONFIG, or the one beside this folder) and of the image (Docker)
	$(PYTEST) --timeout=400 --durations=15 $(CLUSTER)

check: $(VENV)/dev.stamp $(VENV)/checkov.stamp ## lint, types, directions of dependency, shell scripts, Dockerfile, alert rules, the chart
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck .ci/baked .ci/bare .ci/full .ci/house .ci/kind .ci/run .ci/servers k8s/*.sh
	$(BIN)/hadolint Dockerfile
	$(BIN)/zizmor --quiet --offline .github
	$(if $(shell command -v promtool),promtool check rules telemetry/rules/headrace.yaml && promtool test rules telemetry/rules/tests.yaml,@echo "promtool is not here: the alert rules are not checked")
	$(PYTEST) -q tests/deploy/test_lint.py

chart-tools: $(VENV)/checkov.stamp $(VENV)/helms.stamp ## what the chart's tests need besides Helm 4: checkov, and with Go two Helms 3

$(VENV)/checkov.stamp: tests/deploy/checkov.lock $(VENV)/run.stamp
	$(VENV)/checkov/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)/checkov
	$(VENV)/checkov/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r tests/deploy/checkov.lock
	touch $@

# A minute each where Go has never compiled them, 7 s where its cache has them.
$(VENV)/helms.stamp: Makefile $(VENV)/run.stamp
	for version in $(HELM3); do GOBIN=$(abspath $(VENV))/helm-$$version CGO_ENABLED=0 \
	  go install -trimpath -ldflags "-s -w" helm.sh/helm/v3/cmd/helm@$$version || exit 1; done
	touch $@

docs: $(VENV)/dev.stamp ## make all that is made of code and values: settings, the chart's schema and table, dashboard, rules, manifests (needs Helm)
	env -u HEADRACE_APP $(BIN)/python -m cli settings > docs/settings.md.new && mv docs/settings.md.new docs/settings.md
	$(BIN)/python -m helm.document
	$(BIN)/python -m helm.nulls
	$(BIN)/python -m helm.dashboard
	cp telemetry/rules/headrace.yaml helm/headrace/rules/headrace.yaml
	k8s/render.sh > k8s/headrace.yaml.new && mv k8s/headrace.yaml.new k8s/headrace.yaml || { rm -f k8s/headrace.yaml.new; exit 1; }

# Each warning of mkdocs is an error: a link to no page or no heading, a page that the menu lacks. With --quiet it would count none.
# The variable silences what Material says of its own end, in May 2027: Zensical, its successor, reads the same mkdocs.yml.
docs-site: $(VENV)/dev.stamp ## make a site of the pages, build/site/index.html; a link that leads nowhere fails it
	rm -rf build/pages build/site && mkdir -p build/pages
	tar -cf - *.md docs examples/*.md helm/headrace/*.md k8s/*.md bench/traces/*.md | tar -xf - -C build/pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

image: ## build the image, headrace:dev; IMAGE=… and BASE_IMAGE=… name others (needs Docker)
	$(DOCKER) build $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$(REVISION) --tag $(IMAGE) $(BUILD_FLAGS) .

# The packages that are shipped, and none of the development's: an environment of its own, with no pip in it.
$(VENV)/locked.stamp: requirements.lock $(VENV)/run.stamp
	$(PYTHON) -m venv --clear --without-pip $(VENV)/locked
	$(BIN)/python -m pip --python $(VENV)/locked/bin/python install --quiet --disable-pip-version-check --no-deps --require-hashes \
	  -r requirements.lock
	touch $@

sbom: $(VENV)/dev.stamp $(VENV)/locked.stamp ## write the bill of materials, build/sbom.json (CycloneDX 1.6)
	mkdir -p build
	$(BIN)/cyclonedx-py environment --spec-version 1.6 --output-reproducible --output-format JSON --output-file build/sbom.json \
	  --pyproject pyproject.toml --mc-type application $(VENV)/locked

kind-up: ## a kind cluster with the image in it; eval "$$(make -s kind-up)" sets KUBECONFIG (needs Docker and kind)
	@k8s/kind-up.sh

kind-down: ## delete that cluster
	@k8s/kind-up.sh down

kind-test: ## the tests of `make e2e` and those of policies and lost nodes, on a kind cluster made for them (Docker, kind, Helm; 35 minutes)
	.ci/kind tests

# With a cluster in KUBECONFIG: `make kind-test` and who looks into a failure of it.
kind-tests: $(VENV)/dev.stamp
	$(PYTEST) -v --timeout=400 --durations=25 $(CLUSTER) $(NODES)

format: $(VENV)/dev.stamp ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-smoke: $(VENV)/dev.stamp ## submits and deliveries a second, and the CPU of each (needs wrk, RabbitMQ and Redis)
	$(BIN)/python -m bench.smoke

bench-backlog: $(VENV)/dev.stamp ## whether a consumer's memory grows with a queue of a million (needs RabbitMQ)
	$(BIN)/python -m bench.backlog

bench-controller: $(VENV)/dev.stamp ## CPU of a tick, and memory, of one controller with 300 queues
	$(BIN)/python -m bench.controller

bench-simulate: $(VENV)/dev.stamp ## how long the simulator takes for a day of 230 million jobs
	$(BIN)/python -m bench.simulate

bench-cluster-step: $(VENV)/dev.stamp ## the step on which KEDA was measured, on a real cluster (needs RabbitMQ, Docker, the cluster; 5 minutes); STEP_OPTIONS=--shipped runs our consumer in the pods, not its stand-in
	$(BIN)/python -m bench.cluster_step $(STEP_OPTIONS)

lock: ## compile the lock files anew (needs uv)
	uv pip compile --universal --generate-hashes --no-annotate --no-header -q pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-annotate --no-header -q pyproject.toml --extra dev --extra report -c requirements.lock -o requirements-dev.lock
	uv pip compile --universal --generate-hashes --no-annotate --no-header -q --python-version 3.11 tests/deploy/checkov.in -o tests/deploy/checkov.lock

clean: ## remove the environment and what was generated
	rm -rf $(VENV) .headrace .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage build ./*.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
