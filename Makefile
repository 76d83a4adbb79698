# `make help` lists what can be done. Nothing needs to be set up first: each target installs what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ZOO    ?= $(if $(CNNZOO_ZOO),$(CNNZOO_ZOO),zoo)
PORT   ?= $(if $(CNNZOO_PORT),$(CNNZOO_PORT),3000)
TESTS  ?= not slow
# Processes that share the tests. The long tests run one after the other: beside others they would miss time limits.
WORKERS ?= $(if $(filter not,$(TESTS)),auto --maxprocesses 4,0)
BENCHMARKS ?= training finetune
export BENTOML_DO_NOT_TRACK := True

.DEFAULT_GOAL := help
.PHONY: help install demo zoo tables serve bento wheel test check bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## set up .venv with everything; again only when a list of dependencies changes

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cnnzoo needs Python 3.11 or newer; say which with: make install PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# What the service needs, without torch: about 600 MB in place of 8 GB.
$(VENV)/.serve: serve/requirements.txt | $(VENV)/.created
	$(BIN)/pip install --quiet --disable-pip-version-check -r serve/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Editors, mypy and pyright find the package `cnnzoo` through build/typing/cnnzoo.
$(VENV)/.installed: pyproject.toml requirements.txt $(VENV)/.serve
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@mkdir -p build/typing && ln -sfn ../.. build/typing/cnnzoo
	@touch $@

demo: install  ## train the digits CNN, export it, serve it, ask it over HTTP, download it and verify
	$(BIN)/python examples/demo.py

zoo: install  ## make the shipped models again, from data to card, where they are not up to date (hours)
	$(BIN)/python tools/make_zoo.py

tables: install  ## write the generated parts of README.md and docs/, from the cards and the measured figures
	$(BIN)/python tools/tables.py

serve: $(VENV)/.serve  ## serve the models in zoo/ (or CNNZOO_ZOO) on 127.0.0.1:3000 (PORT=...); installs no torch
	$(BIN)/cnnzoo serve --zoo '$(ZOO)' --port $(PORT)

bento: $(VENV)/.serve  ## pack the service and zoo/ into a Bento (docs/deploy.md)
	@rm -rf build/bento && mkdir -p build/bento/cnnzoo
	@cp -r contract serve build/bento/cnnzoo/ && cp -r zoo serve/requirements.txt bentofile.yaml build/bento/
	$(BIN)/bentoml build build/bento

wheel: install  ## build dist/cnnzoo-….whl, with the models in zoo/
	@rm -rf build/lib build/bdist.*  # setuptools would pack old files from there
	$(BIN)/python -m build --wheel

test: install  ## run the tests; CNNZOO_DATA=<folder> runs those on the real data too, TESTS=slow the long ones
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "$(TESTS)"

check: install  ## check style, types, imports, dependencies, generated pages, and the page's JavaScript
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build/typing && ln -sfn ../.. build/typing/cnnzoo
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks tools examples
	$(BIN)/basedpyright
	$(BIN)/deptry . --no-ansi
	$(BIN)/python tools/tables.py --check
	@if ! command -v npm >/dev/null; then echo "npm is missing: the page's JavaScript is not checked"; else \
	  npm install --no-save --silent --prefix build/npm @biomejs/biome@2 && build/npm/node_modules/.bin/biome ci; fi

bench: install  ## print the measurements of benchmarks/ (long; BENCHMARKS=training for one)
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:  ## remove the environment and what was built; zoo/, runs/ and data/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
