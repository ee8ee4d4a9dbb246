# The commands. `make` alone lists them; what they do is in docker/ and tests/.

MAKEFLAGS += --no-print-directory
SHELL := bash
VENV := .venv/bin

.DEFAULT_GOAL := help
# Settings that `make up` writes to .env if they are given on its command line.
SAVED := APP_DIR APP MIGRATE DATABASE DATABASE_ROLE INSTANCE_PATH STATIC
TO_SAVE := $(foreach name,$(SAVED),$(if $(filter command,$(origin $(name))),$(name)))

# Values on the command line may be pasted from a page or a mail: make must not evaluate them. `override`
# takes a variable out of the environment of the commands, so it is exported again.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name))))
# The shell must not evaluate these either: the commands below get them through `quoted`.
unexport REQUEST N
define newline


endef
quoted = '$(subst $(newline), ,$(subst ','\'',$(value $(1))))'

.PHONY: help up down clean ps scale backup restore rotate-secrets swarm-up swarm-down engine engine-stop doctor bases drill logs mail dev debug check test test-swarm lint bench sbom screenshots

help:
	@awk 'BEGIN {FS = " ## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.* ## / {split($$1, verb, ":"); printf "  make %-15s %s\n", verb[1], $$2}' Makefile

##@ Start
up: ## build and start everything, wait until it is healthy, print the addresses (your app: APP_DIR=… APP=…)
	@TO_SAVE="$(TO_SAVE)" docker/verbs/up

drill: ## raise a real error and show its page, mail and log entry under one request id
	@python3 docker/verbs/drill.py

##@ Follow an error
logs: ## follow the log, or print what one request wrote: make logs REQUEST=<id>
	@REQUEST=$(call quoted,REQUEST) docker/verbs/logs

mail: ## list the captured mails and where to read them
	@python3 docker/verbs/mail.py

##@ Operate
ps: ## show the services and their health
	@docker/verbs/ps

scale: ## run N web containers: make scale N=3
	@N=$(call quoted,N) docker/verbs/scale

backup: ## write the data and the secrets to one encrypted file in backups/ (PLAIN=1: without secrets)
	@docker/verbs/backup

restore: ## put a backup into this stack, empty or running: make restore FILE=…
	@docker/verbs/restore

rotate-secrets: ## replace the generated secrets; nobody is logged out and no request fails
	@docker/verbs/rotate-secrets

swarm-up: ## run the stack on a Docker swarm, of this machine or of several (docs/many-machines.md)
	@deploy/swarm/up

swarm-down: ## remove the stack from the swarm and keep the data (YES=1: delete it)
	@deploy/swarm/down

down: ## stop everything and keep the data, except the mails in MailHog
	@docker/verbs/down

clean: ## stop everything and delete data, volumes and images (YES=1: do not ask; CERTS=1: certificates too)
	@docker/verbs/clean

##@ Develop
dev: .venv ## run without containers: SQLite, debugger, reloader (FLASK_DEBUG=0: error pages and mails)
	@docker/verbs/dev

debug: ## run the containers with the source mounted and Werkzeug's debugger on 127.0.0.1:5000
	@docker/verbs/debug

##@ Check
# Three processes on two processors, since many of these tests wait. Two of the stack keep both processors busy.
CHECK := $(VENV)/python -m tests.twice check --numprocesses 3 --dist worksteal tests/unit tests/integration tests/packaging tests/docs

check: lint ## run lint and the tests without containers: unit, integration, packaging, docs
	@tests/prepare postgres
	@$(CHECK)

test: lint ## run everything that CI runs: check, stack and browser tests
	@tests/prepare postgres
	@docker/engine/start
	@tests/beside "make test-swarm" $(CHECK)
	@$(VENV)/python -m tests.twice stack --numprocesses 2 --dist loadfile --no-loadscope-reorder --ignore-glob='*/test_swarm*' tests/stack tests/browser

# Beside the tests that need no containers: when an engine leaves a swarm, it forgets the names of running containers.
test-swarm:
	@tests/prepare stack
	@$(VENV)/python -m tests.twice swarm tests/stack/test_swarm.py

lint: .venv ## run only the linters and the type check
	@tests/lint

bench: .venv ## benchmark log, errors, pages and connections against alternatives (ROUNDS=7 ONLY=pages JSON=1)
	@$(VENV)/python -m tests.bench --rounds $(if $(ROUNDS),$(call quoted,ROUNDS),7) $(if $(ONLY),--only $(call quoted,ONLY)) $(if $(JSON),--json)

sbom: .venv ## list the packages in each image: CycloneDX files in sbom/
	@$(VENV)/python docker/verbs/sbom.py

screenshots: .venv ## retake the README's screenshots in the running stack
	@$(VENV)/python docs/screenshots.py

##@ Prepare this machine
doctor: ## check this machine before the first start, and say how to fix what is missing
	@docker/verbs/doctor

engine: ## find a Docker engine, or install and start one (ENGINE=no: never install)
	@docker/engine/start

bases: engine ## pull the base images, or build them from packages
	@docker/bases/ensure

engine-stop: ## stop the engine that `make engine` or `make up` has started
	@docker/engine/stop

.venv: requirements-dev.txt
	@tests/prepare venv
	@touch .venv
