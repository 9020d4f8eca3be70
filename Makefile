# make try    encode, decode and compare the sample photographs
# make test   the whole test suite
# make lint   ruff            make types  mypy, strict
# make bench IMAGES=folder [NAME=name]   measure, then rewrite the README's table
#
# The first call makes .venv and installs the pinned set of constraints.txt into it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
WORKERS ?= 2
PYTEST_ARGS ?=
IMAGES ?=
NAME ?= $(notdir $(patsubst %/,%,$(IMAGES)))

.DEFAULT_GOAL := help
.PHONY: help venv install try test lint types bench clean

help:
	@sed -n '1,6s/^# \{0,1\}//p' Makefile

venv: $(BIN)/python

install: $(VENV)/.installed

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no python3.11 or python3 found: install Python 3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11: call make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[test]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(INSTALL) -e '.[bench]'
	@touch $@

try: $(VENV)/.installed
	$(BIN)/python -m benchmarks.try_it

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.installed
	$(BIN)/python -m ruff check .

types: $(VENV)/.installed
	$(BIN)/python -m mypy

bench: $(VENV)/.installed-bench
	@test -n "$(IMAGES)" || { echo "say which images: make bench IMAGES=folder [NAME=name]" >&2; exit 2; }
	$(BIN)/python -m benchmarks.kodak "$(IMAGES)" --name "$(NAME)" --verified
	$(BIN)/python -m benchmarks.efforts "$(IMAGES)" --limit 6 --name "$(NAME)-6" --plot docs/efforts.svg
	$(BIN)/python -m benchmarks.readme_table

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .numba_cache .hypothesis
