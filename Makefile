# Every target makes its own .venv from requirements.lock and installs what it needs; nothing has to be set up before.
#   make demo ARGS="--seconds 20 --json"      make test ARGS="-k reservation -x"      make PYTHON=python3.12 check
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
SEEDS ?= 300
export PYTHON

.PHONY: help demo test slow sim mutants virtual check compiled bench lock clean fast etcd zookeeper prometheus chromium

help: ## list the targets
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

demo: $(STAMP) ## a coordinator, simulated agents and the live floor map (ARGS: see `zonelock demo --help`)
	@exec $(BIN)/zonelock demo $(ARGS)

test: $(STAMP) etcd prometheus chromium ## every test but the slow ones, real etcd included (ARGS go to pytest)
	@exec $(BIN)/python -m pytest $(ARGS)

slow: $(STAMP) etcd prometheus chromium fast ## the tests marked slow: minutes each
	@exec $(BIN)/python -m pytest -m slow --timeout 1200 --durations 0 $(ARGS)

sim: $(STAMP) ## the seeded simulator: SEEDS=300 seeds of faults on virtual time (ARGS: see `python -m chaos.sim --help`)
	@exec $(BIN)/python -m chaos.sim --seeds $(SEEDS) $(ARGS)

mutants: $(STAMP) ## how many seeds of the simulator each planted bug needs (ARGS: see `python -m chaos.mutations hunt --help`)
	@exec $(BIN)/python -m chaos.mutations hunt $(ARGS)

virtual: $(STAMP) ## the large runs on virtual time: warehouse and unseen floors, every task done; the naive way freezes
	@exec $(BIN)/python -m pytest -m slow -s --timeout 3600 tests/sim/test_virtual.py $(ARGS)

check: $(STAMP) ## format, lint, strict types, proto lint and drift, import rules, file sizes
	@exec .ci/check $(VENV)

compiled: $(STAMP) ## compile the coordinator's core with mypyc into build/compiled (a C compiler and Python.h; a minute)
	@exec $(BIN)/python -m coordinator.compiling

bench: $(STAMP) etcd zookeeper fast ## measure on this machine beside etcd's and ZooKeeper's locks (ARGS: names, --rounds N, --json)
	@exec $(BIN)/python -m benchmarks $(ARGS)

lock: ## choose new exact versions for pyproject.toml and write requirements.lock
	@.ci/lock

clean: ## remove .venv, caches and build products
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml .ci/venv
	@.ci/venv $(VENV)
	touch $@

# The store's tests run real etcd members. The tests start their own; Debian's package may also start a service on port 2379,
# which they neither need nor touch.
etcd:
	@command -v etcd >/dev/null || .ci/apt-install etcd-server etcd-client

# A peer of the benchmarks, which start servers of their own on free ports and leave it out where it cannot be installed.
zookeeper:
	@[ -f /usr/share/java/zookeeper.jar ] && command -v java >/dev/null || .ci/apt-install libzookeeper-java default-jre-headless \
	  || echo 'zonelock: no ZooKeeper: the benchmarks will leave that peer out' >&2

# What measures the core, or compares the two, wants it compiled, and says so where it cannot be.
fast: $(STAMP)
	@$(BIN)/python -m coordinator.compiling || echo 'zonelock: not compiled: what runs now runs the core in Python' >&2

# A real Prometheus checks the alert rules and scrapes a real cluster. Debian's package may also start a service on port 9090,
# which the tests neither need nor touch.
prometheus:
	@{ command -v prometheus && command -v promtool; } >/dev/null || .ci/apt-install prometheus \
	  || echo 'zonelock: no prometheus: the tests of alerts and scraping will be skipped' >&2

# Only the page test needs a browser, and skips without one.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || .ci/apt-install chromium || echo 'zonelock: no chromium: the test of the floor page will be skipped' >&2
