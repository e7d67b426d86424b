# Both targets set up all they need from Python 3.11 and make alone.
PYTHON ?= python3.11
VENV := .venv
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint browser

demo: $(VENV)/.train
	$(VENV)/bin/boxwright demo

test: lint browser
	$(VENV)/bin/python -m pytest

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/hadolint docker/*Dockerfile

# The pages are tested in a real one; without any, Debian's is installed.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit; done; \
	$(SUDO) apt-get update && $(SUDO) apt-get install --yes chromium

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[train,openvino,video,tensorboard,mlflow,torchserve,dev]'
	touch $@ $(VENV)/.train
