# make help lists the targets.
.DEFAULT_GOAL := help
.PHONY: help env env-dev env-airflow run test test-fast test-slow test-integration coverage check format docs diagrams requirements image clean

VENV ?= .venv
BIN := $(VENV)/bin
GROUPS_GPU := $(if $(filter-out 0,$(GPU)),gpu)
# Tests of one file share what they make, so a file stays in one process. In the order of their
# folders the long ones come first; by the number of tests, pytest-xdist's order, they came last.
IN_PARALLEL = --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder
# One more than the two cores that CI has: tests wait for processes that they started.
WORKERS ?= 3
export PYTHON VENV
# TensorFlow and TFX log pages before a test has run.
export TF_CPP_MIN_LOG_LEVEL ?= 3
# Images often set it. Without compiled modules each process spends 10 s on compiling what it imports.
export PYTHONDONTWRITEBYTECODE =

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 26
	@echo "  options: PYTHON=python3.12 (make env), GPU=1 (make env: adds CUDA libraries)"

env: ## make the environment in .venv
	@scripts/make_env.sh $(GROUPS_GPU)

env-dev: ## make it with the tools for tests and linters, too
	@scripts/make_env.sh dev $(GROUPS_GPU)

env-airflow: ## make .venv-airflow, an environment with Apache Airflow (Python 3.11 or 3.12)
	@VENV=$(VENV)-airflow scripts/make_env.sh airflow

run: env ## run the whole pipeline on the bundled sample
	@$(BIN)/bert run --set 'data.slice_columns=["domain"]'

test: env-dev ## run all but the integration tests (20 minutes on 2 cores)
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not integration"

test-fast: env-dev ## run the tests that need no real encoder (2 minutes)
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not slow and not integration"

test-slow: env-dev ## run the slow tests of make test: real encoder, end to end
	$(BIN)/python -m pytest $(IN_PARALLEL) -m slow

test-integration: env-dev ## run the pipeline on other orchestrators, and the loop under kill -9
	$(BIN)/python -m pytest $(IN_PARALLEL) -m integration

# The tests that coverage is measured with, as pytest's option -m.
MEASURED ?= not slow and not integration
coverage: env-dev ## measure line and branch coverage of test-fast, subprocesses included (5 minutes)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(IN_PARALLEL) -m "$(MEASURED)"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet
	$(BIN)/coverage json --quiet
	@$(BIN)/python scripts/coverage_table.py .coverage_html/coverage.json

check: env-dev ## format, lint, type and import checks, and the checks of layout and docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m pytest -m "not slow" -q tests/architecture tests/docs
	$(BUILD_DOCS)

BUILD_DOCS = $(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --nitpicky --quiet -d .cache/sphinx docs site

docs: env-dev ## build the documentation site into site/; warnings are errors
	$(BUILD_DOCS)

diagrams: env-dev ## draw the pictures of docs/diagrams again (needs Graphviz)
	$(BIN)/python docs/diagrams/draw.py

format: env-dev ## let ruff format and fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE = PATH="$(CURDIR)/.cache/uv-bootstrap/bin:$$PATH" UV_CUSTOM_COMPILE_COMMAND="make requirements" uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url

requirements: ## pin the dependencies of pyproject.toml again
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) --group dev -c requirements.txt -o requirements-dev.txt
	$(COMPILE) --group gpu -c requirements.txt --strip-extras -o requirements-gpu.txt
	@# uv keeps versions that are already in the output file where they fit: those of requirements.txt.
	cp requirements.txt requirements-airflow.txt
	$(COMPILE) --group airflow -o requirements-airflow.txt

image: ## build the container image of the last commit: IMAGE=REGISTRY/bert [TARGET=gpu]
	@scripts/build_image.sh "$(IMAGE)" $(TARGET)

clean: ## remove the environment, runs, pushed models and caches
	rm -rf .venv .venv-airflow .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage* *.egg-info \
		pipeline_root serving_models site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
