# Both targets set up all they need from Python and make alone. Any Python from 3.11 on will do, and the lowest is taken:
# constraints.txt was written with 3.11. PYTHON=... names another one, WORKERS=... the processes that run the tests.
CANDIDATES := python3.11 python3.12 python3.13 python3.14 python3
FITS := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
WORKERS ?= 2
VENV := .venv
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo docs dist test test-all lint browser

demo: $(VENV)/.train
	$(VENV)/bin/boxwright demo

# The site of the documentation, into site/; tests/test_site.py builds it, too.
docs: $(VENV)/.dev
	$(VENV)/bin/python docs_site/build.py site

# Under ten minutes on two cores: without the files that take long, which test-all has, too.
test: lint browser
	$(VENV)/bin/python -m pytest --numprocesses=$(WORKERS) -m "not long"

test-all: lint browser $(VENV)/.kserve
	$(VENV)/bin/python -m pytest --verbose --numprocesses=$(WORKERS)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/hadolint docker/*Dockerfile

# The same commit gives the same bytes: all times in them are the commit's.
dist: $(VENV)/.dev
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(VENV)/bin/python -m hatchling build
	$(VENV)/bin/python -m twine check --strict dist/*

# The pages are tested in a real one; without any, Debian's is installed.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit; done; \
	$(SUDO) apt-get update && $(SUDO) apt-get install --yes chromium

# A name on the PATH may be a launcher without a Python behind it, so each one is tried.
$(VENV)/bin/python:
	@for python in $(or $(PYTHON),$(CANDIDATES)); do \
	    $$python -c '$(FITS)' 2>/dev/null && echo "$$python -m venv $(VENV)" && exec $$python -m venv $(VENV); done; \
	echo "Python 3.11 or newer, with its venv module, is needed: none of $(or $(PYTHON),$(CANDIDATES)) is one." >&2; exit 1

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[train,hf,grpc,openvino,video,tensorboard,mlflow,tune,ray,urls,torchserve,docs,dev]'
	touch $@ $(VENV)/.train

# KServe's own clients, as judges of our protocols, want other versions of pandas and protobuf than the rest.
$(VENV)/.kserve: | $(VENV)/bin/python
	$(VENV)/bin/python -m venv $(VENV)/kserve
	$(VENV)/kserve/bin/python -m pip install --quiet --disable-pip-version-check kserve==0.21.0
	touch $@
