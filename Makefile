# What a developer types. Each target does its own set-up; nothing but make and Python with venv has to be there.

VENV := .venv
PYTHON_IN := $(VENV)/bin/python
# Written once a lock is installed: a set-up is done again only when its lock changes.
RUNNABLE := $(VENV)/.runnable
INSTALLED := $(VENV)/.installed
# So many test processes at once: twice as many as there are cores, as most of them mostly wait.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 2)
# Which tests: make test TESTS=tests/bus
TESTS ?= tests
# Which hubs to kill and how often: make crash COMBINATION=kafka-postgres FAULTS=50 SEED=1
COMBINATION ?= all
FAULTS ?= 200
SEED ?=
# The demo over a real Kafka: make demo KAFKA=1
KAFKA ?=
# Recorded GitHub webhooks: make journey-github PAYLOADS=folder
PAYLOADS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A caller's own environment must not leak into ours.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help setup demo kafka quality test fuzz churn vault check format bench crash build docs journey-github lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do \
		printf '%-18s %s\n' "$$name" "$$text"; \
	done

setup: $(INSTALLED) ## install everything into .venv, as locked

demo: $(RUNNABLE) ## show it: no account, no key, no network; over a real Kafka with KAFKA=1 (Java 17, Maven)
	@$(if $(filter-out 0,$(KAFKA)),$(PYTHON_IN) -m console.demo.on_kafka,$(VENV)/bin/penstock demo)

kafka: $(RUNNABLE) ## run a real Kafka on 127.0.0.1:9092 until Ctrl-C; needs Java 17 and Maven
	@$(PYTHON_IN) -m bus.broker

quality: $(INSTALLED) ## run the contract of every connector, and write down what it reaches
	@$(PYTHON_IN) -m pytest -q -n $(WORKERS) -p connectors.testing_quality --quality tests/connectors

test: $(INSTALLED) ## run the tests; a part of them with TESTS=tests/bus
	@$(PYTHON_IN) -m pytest -q -n $(WORKERS) --dist worksteal $(TESTS)

fuzz: $(INSTALLED) ## post anything to every receiver: DELIVERIES of them, 100,000 by default
	@PENSTOCK_FUZZ=$(or $(DELIVERIES),100000) $(PYTHON_IN) -m pytest -q -s --timeout=0 tests/engine/test_ingress_fuzz.py

vault: $(INSTALLED) ## look at a real Vault or OpenBao with our client: VAULT=/path/to/vault
	@$(PYTHON_IN) -m tests.stores.vault_server $(VAULT)

churn: $(INSTALLED) ## let workers on a real Kafka come, go and die for SECONDS, 120 by default; needs PostgreSQL too
	@PENSTOCK_CHURN=$(or $(SECONDS),120) $(PYTHON_IN) -m pytest -q -s tests/engine/test_churn.py

check: $(INSTALLED) ## lint, formatting, types, who may import whom
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: $(INSTALLED) ## mend lint and formatting
	@$(VENV)/bin/ruff check --fix-only .
	@$(VENV)/bin/ruff format .

bench: $(INSTALLED) ## measure what we promise about speed, as ratios
	@missed=0; for file in $$(grep -l '^if __name__' benchmarks/*.py) benchmarks/calls benchmarks/engine; do \
		name=$${file#benchmarks/}; \
		$(PYTHON_IN) -m benchmarks.$${name%.py} || missed=1; \
	done; exit $$missed

crash: $(INSTALLED) ## kill hubs, brokers and ledgers at length, and count what became of it
	@$(PYTHON_IN) -m tests.crash --combination "$(COMBINATION)" --faults "$(FAULTS)" --seed "$(SEED)" \
		--results tests/crash/results

build: $(INSTALLED) ## build dist/*.tar.gz and, from it, dist/*.whl
	@$(PYTHON_IN) -m build --no-isolation

docs: $(INSTALLED) ## make the generated pages and the README's picture anew
	@$(PYTHON_IN) -m console.reference
	@$(PYTHON_IN) -m console.demo.picture docs/demo.svg

journey-github: $(INSTALLED) ## send recorded GitHub webhooks to a running hub: PAYLOADS=folder
	@test -d "$(PAYLOADS)" || { echo "Which payloads? make journey-github PAYLOADS=folder-of-json-files" >&2; exit 2; }
	@$(PYTHON_IN) tests/journeys/github.py "$(PAYLOADS)"

lock: $(INSTALLED) ## write both locks anew from pyproject.toml; newer versions with UPGRADE=--upgrade
	@$(PYTHON_IN) -m pip install -q uv
	@$(VENV)/bin/uv pip compile $(LOCKING) --output-file requirements.lock pyproject.toml --group build
	@$(VENV)/bin/uv pip compile $(LOCKING) --output-file requirements-dev.lock pyproject.toml --group dev

LOCKING := -q $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(RUNNABLE): requirements.lock pyproject.toml | $(PYTHON_IN)
	@echo "Installing into $(VENV) ..."
	@$(PYTHON_IN) -m pip install -q --require-hashes -r requirements.lock || { $(SAY_NO_PACKAGES); exit 1; }
	@$(PYTHON_IN) -m pip install -q --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED): requirements-dev.lock $(RUNNABLE)
	@echo "Installing what developers need ..."
	@$(PYTHON_IN) -m pip install -q --require-hashes -r requirements-dev.lock || { $(SAY_NO_PACKAGES); exit 1; }
	@touch $@

SAY_NO_PACKAGES := echo "Packages could not be installed. Behind a mirror, set PIP_INDEX_URL; then run make again." >&2

# The first Python that is young enough, old enough and able to make an environment.
$(PYTHON_IN):
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		"$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
			2>/dev/null && exec "$$python" -m venv $(VENV); \
	done; \
	echo "Python 3.11, 3.12 or 3.13 with venv is missing." \
		"On Debian or Ubuntu: apt-get install python3 python3-venv; elsewhere: https://www.python.org/downloads/" >&2; \
	exit 1
