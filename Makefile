# Two commands for a fresh machine with Python >= 3.11, pip and make:
#   make demo    installs into .venv and runs instance search on packaged photos
#   make test    installs into .venv and runs everything

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test check unit golden bench docs wheel plugin plugins clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "camsearch needs Python 3.11 or newer: make PYTHON=python3.11 setup")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/camsearch demo

# The fast half: style, types, imports, unit tests.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 --dist worksteal -m 'not slow and not photos and not gpu and not services'

test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.services install
	$(BIN)/pytest -n 3 --dist worksteal

# The benchmarks that need no server; `python -m benchmarks --help` names the others.
bench: setup
	$(BIN)/python -m benchmarks encode
	$(BIN)/python -m benchmarks rerank

# Rewrites the golden numbers, old and new side by side for the changelog.
golden: setup
	$(BIN)/python -m tests.golden.regenerate

# Rewrites the generated pages; a test compares them.
docs: setup
	$(BIN)/python -m docs.generate

wheel: setup
	$(BIN)/python -m build --wheel

# The plugin for one version of Elasticsearch; `make plugins` builds those of PLUGIN_VERSIONS.
ES ?= 9.5.3
PLUGIN_VERSIONS ?= 8.19.21 9.1.0 9.2.0 9.3.0 9.5.3
plugin:
	rm -rf es_plugin/target/$(ES)
	mvn --batch-mode --quiet -f es_plugin -Delasticsearch.version=$(ES) package
	ls es_plugin/target/$(ES)/camsearch-*.zip

plugins:
	for version in $(PLUGIN_VERSIONS); do $(MAKE) plugin ES=$$version || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info
