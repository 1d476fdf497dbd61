# Two commands matter: `make run` and `make test`; each does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
RELEASED := protos/released.binpb

.PHONY: setup run test faults lint protos protos-release bench lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Kept needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

run: setup
	$(BIN)/kept up --demo

test: setup lint
	$(BIN)/python -m pytest -n auto --dist loadfile

# What is in `make test` in a short form: more kills, images, failovers and seeds. About half an hour; it ends by itself.
faults: setup
	KEPT_FAULTS=long $(BIN)/python -m pytest -n auto --dist loadfile tests/faults tests/simulation

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf breaking --against $(RELEASED)
	$(BIN)/python protos/generate.py --check

protos: setup
	$(BIN)/python protos/generate.py

# What stored events and clients out there rely on, kept at each release. Only additions pass; `buf breaking` says why.
protos-release: setup
	test ! -e $(RELEASED) || $(BIN)/buf breaking --against $(RELEASED)
	$(BIN)/buf build --exclude-source-info -o $(RELEASED)

bench: setup
	$(BIN)/python -m loadtests.bench

# Pins and hashes of everything, without any address; needs `uv` on the PATH.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info
