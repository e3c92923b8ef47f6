# Two commands do everything on a fresh Debian or Ubuntu: make demo, make test.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON := .venv/bin/python
ARGS ?=

# program:package; the root of a lab has FRR for its router, an ordinary user BIRD
LAB := bird:bird2 birdc:bird2 nft:nftables ip:iproute2 sshd:openssh-server ssh:openssh-client ssh-keygen:openssh-client \
       nsenter:util-linux unshare:util-linux
FRR := $(shell [ "$$(id -u)" -ne 0 ] || echo zebra:frr vtysh:frr)
# They stand beside the lab's router in tests; OpenBGPD needs root.
BESIDE := gobgpd:gobgpd $(shell [ "$$(id -u)" -ne 0 ] || echo bgpctl:openbgpd)
WATCH := prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager amtool:prometheus-alertmanager
PEERS := nginx:nginx-light prometheus-blackbox-exporter:prometheus-blackbox-exporter
IMAGE := $(shell [ "$$(id -u)" -ne 0 ] || echo buildah:buildah debootstrap:debootstrap crun:crun)

.PHONY: help
help:
	@echo "make demo    the outage in a rehearsal network, and the exporter that sees it, on localhost"
	@echo "make test    everything that has to hold: lint, types, all tests, the rehearsal network included"
	@echo "make unit    the tests that need neither the rehearsal network nor the image: a minute or two"
	@echo "make lint    ruff and mypy"
	@echo "make simulate  more rounds on simulated networks; ARGS='--seeds 1-4000' for more yet"
	@echo "make bench   how long 10,000 paths take to judge and publish"
	@echo "make alert-times  measure how long the shipped alerts take on the rehearsal network, write docs/alert-times.md"
	@echo "make generated  write the PrometheusRule, the dashboards and docs/metrics.md anew from their sources"
	@echo "make clean   remove what these commands have made in this directory"
	@echo
	@echo "demo, unit and test pass ARGS on: make demo ARGS=--once, make unit ARGS='-k metrics'"

.PHONY: demo
demo:
	@sh tools/packages.sh need $(LAB) $(FRR)
	@sh tools/venv.sh
	@.venv/bin/ecmp-exporter demo $(ARGS)

.PHONY: test
test: lint
	@sh tools/packages.sh need $(LAB) $(FRR) $(BESIDE) $(WATCH) $(PEERS) $(IMAGE)
	@echo "all tests; those on the rehearsal network take minutes, and mostly wait: three files at a time"
	@$(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: simulate
simulate: development
	@$(PYTHON) -m tests.simulation $(or $(ARGS),--seeds 1-1000)

.PHONY: lint
lint: development
	@echo "ruff"
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@echo "mypy"
	@.venv/bin/mypy

.PHONY: unit
unit: development
	@sh tools/packages.sh need $(WATCH) $(PEERS)
	@$(PYTHON) -m pytest -m "not lab and not image" $(ARGS)

.PHONY: development
development:
	@sh tools/venv.sh dev

.PHONY: bench
bench: development
	@PYTHONPATH=. $(PYTHON) bench/ten_thousand_paths.py

.PHONY: alert-times
alert-times: development
	@sh tools/packages.sh need $(LAB) $(FRR) $(WATCH)
	@PYTHONPATH=. $(PYTHON) bench/alert_times.py $(ARGS)

.PHONY: generated
generated: development
	@$(PYTHON) prometheus/generate.py
	@$(PYTHON) -m grafana.generate
	@$(PYTHON) tools/metrics_page.py

.PHONY: clean
clean:
	@echo "removing .venv, caches and builds"
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
