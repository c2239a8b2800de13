# Everything here works from a clean checkout with Python 3.11 or later and make. `make help` lists it.

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
AUDIT := .venv-audit
SERVERS := roundup synapse
SERVER_VENVS ?= .venv-servers
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
WORKERS ?= 3
ROUNDS ?= 3
HELM ?= helm
BENCH ?= fanout poll many_sources startup commands exchange
BENCH_fanout := --only ours,ours-postgresql,alertmanager,raw-outbox,pgqueuer
BENCH_many_sources := --sources 5000 --seconds 60 --rounds 1
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install extras demo test check lint types imports house fmt schema queries messages translations pictures contact-sheet chaos simulation bench bench-peers servers sbom audit wheel lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.run ## create .venv with the program in it

extras: $(VENV)/.run ## add the libraries of the optional kinds of channels to .venv
	@$(PIP) --require-hashes --requirement requirements/extras.txt

demo: $(VENV)/.run ## watch the main job on a simulated cloud (ARGS="--seconds 20" to end by itself)
	@$(BIN)/notifier demo $(ARGS)

# A fixed seed: what is generated is the same at every run. Bytecode is kept: to rewrite the asserts takes a worker 8 s.
test: $(VENV)/.dev ## run the tests (ARGS="-k name" to choose)
	@PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: lint types imports house ## run every check that is not a test of behaviour

lint: $(VENV)/.dev
	@$(BIN)/ruff check --output-format concise .
	@$(BIN)/ruff format --check --quiet .

types: $(VENV)/.dev
	@$(BIN)/mypy

imports: $(VENV)/.dev
	@$(BIN)/lint-imports --no-logo

# Locks, package, documents, migrations and the configuration's schema in step with the code: held by tests.
house: $(VENV)/.dev
	@$(BIN)/python -m pytest --quiet tests/test_house.py $(wildcard tests/migrations/*.py tests/core/test_config.py)

fmt: $(VENV)/.dev ## format the code and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

schema: $(VENV)/.run ## write config/notifier.schema.json
	@$(BIN)/python -m notifier.config

queries: $(VENV)/.run ## write notifier/store/queries.*.sql: the statements of look-ups, compiled
	@$(BIN)/python -m notifier.store.query_statements

translations: $(VENV)/.dev ## bring notifier/web/locale in step with the templates, and list what is not translated
	@$(BIN)/python tests/translations.py

messages: $(VENV)/.dev ## write docs/messages.md: what every channel shows
	@$(BIN)/python tests/messages_page.py

openapi: $(VENV)/.dev ## write docs/openapi.json: the description of the API
	@$(BIN)/python tests/openapi_page.py

pictures: $(VENV)/.dev ## take docs/pictures of the page, with Chromium (ARGS="folder now task" for some of them)
	@PYTHONPATH=tests $(BIN)/python -m pages.pictures $(ARGS)

manifests: ## write deploy/kubernetes.yaml from the chart (HELM="path of helm")
	@( echo "# kubectl apply -f deploy/kubernetes.yaml; docs/install.md explains it. One process with SQLite; the chart has more."; \
		echo "# Rendered from deploy/helm by \`make manifests\`."; \
		$(HELM) template gaussdb-notifier deploy/helm/gaussdb-notifier --values deploy/helm/sqlite.values.yaml \
	) > deploy/kubernetes.yaml

contact-sheet: $(VENV)/.dev ## draw every message of every channel, to look at (ARGS="folder"; pictures need Chromium)
	@$(BIN)/python tests/contact_sheet.py $(or $(ARGS),build/contact-sheet)

simulation: $(VENV)/.dev ## run seeded disasters in virtual time (ARGS="--seeds 50000")
	@PYTHONHASHSEED=0 $(BIN)/python tests/simulation/run.py $(ARGS)

chaos: $(VENV)/.dev ## kill the program at random and compare its messages with the truth (ARGS="--kills 1000 --seed 7")
	@PYTHONPATH=tests $(BIN)/python -W ignore -m chaos.run $(ARGS)

bench: $(VENV)/.dev ## run all benchmarks, then print the goals (half an hour; BENCH="poll startup" for some of them)
	@$(foreach name,$(BENCH),echo "== $(name)" && $(BIN)/python $(wildcard benchmarks/$(name) benchmarks/$(name).py) \
		--rounds $(ROUNDS) $(BENCH_$(name)) --json build/bench/$(name).json &&) true
	@$(BIN)/python benchmarks/goals.py build/bench

servers: $(SERVERS:%=$(SERVER_VENVS)/%/.done) ## install servers that some tests talk to; without them these are skipped

bench-peers: $(PEERS)/.done ## install the Python peers of the benchmarks, apart from everything else

sbom: $(AUDIT)/.done ## write bills of materials of the program and of its extras (CycloneDX) into dist/
	@mkdir -p dist
	@for lock in run extras; do $(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-file dist/sbom.$$lock.json requirements/$$lock.txt || exit 1; done

audit: $(AUDIT)/.done ## ask the package index for known vulnerabilities of what the program is pinned to
	@$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/run.txt \
		--requirement requirements/extras.txt

wheel: $(VENV)/.run ## build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

# Without the machine's own pip settings, so that every hash is one that the public index states.
# Pins stay as they are where they still fit; ARGS=--upgrade takes the newest of everything.
lock: $(VENV)/.dev ## pin the dependencies again (ARGS=--upgrade for newer ones)
	@for lock in build run extras dev audit $(SERVERS); do \
		case $$lock in \
			extras) constraints="-c requirements/run.txt";; \
			dev|audit) constraints="-c requirements/run.txt -c requirements/extras.txt -c requirements/build.txt";; \
			*) constraints=;; \
		esac; \
		$(BIN)/python requirements/inputs.py $$lock | \
		env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
		$(COMPILE) $$constraints $(ARGS) --output-file requirements/$$lock.txt - || exit 1; \
	done

clean: ## remove .venv and everything generated
	@rm -rf $(VENV) .venv-newer $(PEERS) $(AUDIT) $(SERVER_VENVS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the environment; a stamp file says which step has been done ----

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Python's venv module is needed; on Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/.run: requirements/build.txt requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "Installing the program into $(VENV) ..."
	@$(PIP) --require-hashes --requirement requirements/build.txt --requirement requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/extras.txt requirements/dev.txt
	@echo "Installing the development tools into $(VENV) ..."
	@$(PIP) --require-hashes --requirement requirements/extras.txt --requirement requirements/dev.txt
	@touch $@

$(AUDIT)/.done: requirements/audit.txt
	@echo "Installing the tools that look into the dependencies into $(AUDIT) ..."
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/audit.txt
	@touch $@

# The tests look for them where NOTIFIER_TEST_SERVERS says, else in .venv-servers.
$(SERVER_VENVS)/%/.done: requirements/%.txt
	@echo "Installing $* into $(SERVER_VENVS)/$* ..."
	@$(PYTHON) -m venv --clear $(SERVER_VENVS)/$*
	@$(SERVER_VENVS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

$(PEERS)/.done: benchmarks/peers.txt
	@echo "Installing the peers of the benchmark into $(PEERS) ..."
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/peers.txt
	@touch $@
