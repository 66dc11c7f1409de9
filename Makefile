# smart-factory: `make run` serves, `make test` proves. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python

# `make run MODE=fork` reads as PM2's exec_mode; the kit's own name for it is CLUSTER_MODE.
ifdef MODE
export CLUSTER_MODE := $(MODE)
endif

.PHONY: help setup run test test-system bench soak drops loadtest kafka lint format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: ## create .venv with everything that is needed
	@deploy/scripts/setup.sh

run: setup ## serve on 127.0.0.1:3000 with an embedded Postgres; Ctrl-C stops it all
	@[ "$$APP_ENV" != production ] || $(PY) -m app.db migrate  # elsewhere the start does it
	@exec .venv/bin/gunicorn -c gunicorn.conf.py

test: setup ## run every test but those of test-system
	@$(PY) -m tests.kafka.jars  # the first time, half a minute
	@# Tests wait for processes, hence one more than CPUs; who is done takes over what others have left.
	@$(PY) -m pytest -n $$(($$(nproc) + 1)) --dist worksteal $(ARGS)

test-system: setup ## real systemd in containers (root, debootstrap, systemd-container)
	@$(PY) -m tests.system.rootfs  # the first time, some minutes
	@$(PY) -m pytest -n 2 --dist loadfile tests/system $(ARGS)

bench: setup ## hold speed and memory to their bounds, beside stock Gunicorn (needs wrk, Java)
	@$(PY) -m bench $(ARGS)

soak: setup ## 20,000 events while consumers are killed: make soak ARGS='--bus kafka'
	@$(PY) -m tests.events.soak $(ARGS)

drops: setup ## prove that no request is lost: make drops ARGS='http://127.0.0.1:3000/ --duration 60'
	@$(PY) -m loadtests.drops $(ARGS)

loadtest: setup ## one worker against a cluster under load: var/loadtest/report.html
	@$(PY) -m loadtests.comparison $(ARGS)

kafka: setup ## run a Kafka broker on 127.0.0.1:9092 until Ctrl-C, data in var/kafka (needs java, mvn)
	@exec $(PY) -m tests.kafka

lint: setup ## ruff, mypy strict, shellcheck, shfmt, systemd-analyze
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/shellcheck $$(git ls-files '*.sh' .ci/run)
	@.venv/bin/shfmt -d -i 2 -ci $$(git ls-files '*.sh' .ci/run)
	@systemd/verify.sh

format: setup ## rewrite the code as the linters want it
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .
	@.venv/bin/shfmt -w -i 2 -ci $$(git ls-files '*.sh' .ci/run)

clean: ## remove .venv and the caches; the data in var/ stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
