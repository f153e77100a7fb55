# What a person types. `make` lists it.

SHELL := /bin/bash -o pipefail
PYTHON := .venv/bin/python
# HOST=NAME, or a pattern: only these of the inventory. (A shell's own HOST means something else.)
export LIMIT := $(if $(filter command line,$(origin HOST)),$(HOST))
PYINFRA := .venv/bin/pyinfra $(if $(LIMIT),--limit '$(LIMIT)')

.DEFAULT_GOAL := help
.PHONY: $(shell awk -F : '/^[a-z-]+:/ { print $$1 }' $(MAKEFILE_LIST))
.SILENT:

help: ## List the verbs
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- A hub to try ---------------------------------------------------------------------------
demo demo-down: export LAB = demo
demo: controller ## From nothing to a running hub on a throw-away host, and a cell executed in it (LAB=vm: on a virtual machine)
	$(PYTHON) -m tests.lab up $(LAB)
	$(if $(IMAGES_OF),$(PYTHON) -m tests.deployment $(IMAGES_OF) $(LAB))
	$(PYINFRA) -y inventory.py deploy.py
	$(PYTHON) -m tests.lab.demo

demo-down: ## Remove the demo's host and page, its volumes, and a Docker engine started for it
	python3 -m tests.lab down $(LAB)

deploy: controller ## Deploy to the hosts of inventory.py, else to the demo's (LAB=NAME: to that lab)
	$(PYINFRA) -y inventory.py deploy.py

drain: controller ## No new sessions; those that run end in DEADLINE minutes, if you give one
	DEADLINE="$(DEADLINE)" $(PYINFRA) -y inventory.py ops/drain.py

undrain: controller ## Sessions start again
	$(PYINFRA) -y inventory.py ops/undrain.py

check: controller ## Try on each host what a session reaches; a leak is an error (ALSO=address:port,…)
	ALSO="$(ALSO)" $(PYINFRA) -y inventory.py ops/check.py

patch: controller ## Debian's updates under a drained hub, Docker's and the images' too (IMAGES=keep: not those); goes on where it stopped
	$(if $(filter keep,$(IMAGES)),,$(call RAISE_EPOCH,0))
	DEADLINE="$(DEADLINE)" $(PYINFRA) inventory.py ops/patch.py || { echo \
		'patch: not finished. A host that was drained stays so, and its sessions end as was told: make status shows' \
		'it. Mend what is told above and run it again, it goes on from there; or give up: make undrain.' >&2; exit 1; }

uninstall: controller ## Take away what was made on the hosts, and nothing else; asks first (KEEP_BACKUPS=no: those too)
	KEEP_BACKUPS="$(KEEP_BACKUPS)" $(PYINFRA) inventory.py ops/uninstall.py

shell: ## Open a root shell on the lab host (LAB=NAME: on that one)
	python3 -m tests.lab shell $(or $(LAB),demo)

status: controller ## How it stands with each host, on one screen (JSON=1: as JSON); fails where all is not well
	$(PYTHON) -m hubhost.status $(if $(JSON),--json)

doctor: controller ## What is wrong, why, and what to do; logs and configuration without secrets as a file
	$(PYTHON) -m hubhost.doctor

logs: controller ## What the services said (SERVICE=hub, SINCE=2h or a time, FOLLOW=1), also before an update
	$(PYTHON) -m hubhost.logs

rotate: controller ## Make a secret anew and deploy; says first what that costs: make rotate SECRET=proxy_token
	SECRET="$(SECRET)" SERVICE="$(SERVICE)" $(PYINFRA) inventory.py ops/rotate.py

backup: controller ## Make a backup now; TO=folder: and copy it to this machine
	BACKUP_TO="$(TO)" $(PYINFRA) -y inventory.py ops/backup.py

restore: controller ## Make a host what it was in a backup; says first what goes: make restore FILE=x.age KEY=key.txt
	RESTORE_FILE="$(FILE)" RESTORE_KEY="$(KEY)" RESTORE_SIGNER="$(SIGNER)" RESTORE_HOST="$(LIMIT)" \
		$(PYINFRA) inventory.py ops/restore.py

migrate: controller ## Move over from a compose project of the reference configuration (UNDO=1: back)
	DEADLINE="$(DEADLINE)" DIFFERENT="$(DIFFERENT)" UNDO="$(UNDO)" $(PYINFRA) inventory.py ops/migrate.py

rollback: controller ## Go back to the release before, or a named one, from the host's record: make rollback [RELEASE=id]
	RELEASE="$(RELEASE)" $(PYINFRA) inventory.py ops/rollback.py

forget: controller ## Erase a user: session, archives, rows, lines of logs: make forget USER=name
	$(if $(filter command line,$(origin USER)),,$(error which user? make forget USER=name))
	FORGET="$$USER" $(PYINFRA) -y inventory.py ops/forget.py

env-import: controller ## Take over a .env of the reference configuration: make env-import FILE=.env
	$(if $(FILE),,$(error which file? make env-import FILE=.env))
	$(PYTHON) -m hubhost.env_import $(FILE)

# --- Work on it -----------------------------------------------------------------------------
test: lint programs ## Everything, on a fresh lab host; never touches the demo
	$(PYTHON) -m pytest tests/unit tests/lab tests/host tests/behaviour

test-unit: venv ## The tests that need no host; within a minute
	$(PYTHON) -m pytest tests/unit

isolation-report: venv ## Who reaches what, tried on a fresh lab (LAB=NAME: on that one): table and page
	$(PYTHON) -m tests.isolation_report $(LAB)

test-matrix: venv ## The same on other Debians, Dockers and iptables; half an hour; writes docs/isolation-matrix.md
	$(PYTHON) -m pytest -m matrix tests/matrix

test-vm: venv ## Virtual machines with Debian's own kernels, deployed and rebooted; an hour (DEBIAN=13: on that one, IMAGES_OF=NAME: with that lab's)
	TEST_VM=1 $(PYTHON) -m pytest tests/lab/test_vm.py
	$(PYTHON) -m tests.vm_acceptance $(if $(IMAGES_OF),--images-of $(IMAGES_OF)) $(DEBIAN)

test-mutations: venv ## Break lines on purpose: does a test notice? (a sample of the committed list)
	$(PYTHON) -m tests.mutations

lint: venv ## Style and types
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

venv: ## Make .venv from the hashed lists (done by the other verbs as needed)
	tests/lab/bootstrap.sh test

controller: ## The part of .venv that deploying needs
	tests/lab/bootstrap.sh controller

LIBIPTC = $(PYTHON) -m pip install -q --no-build-isolation --require-hashes -r requirements/isolation.txt && $(PYTHON) -c 'import iptc'
programs: venv
	# Playwright's driver needs libatomic, which a minimal Debian lacks.
	{ command -v chromium && command -v firefox-esr && /sbin/ldconfig -p | grep libatomic.so.1; } >/dev/null || \
		tests/lab/apt-install chromium firefox-esr libatomic1
	# The contract is replayed with the real PHP curl.
	php -m 2>/dev/null | grep -x curl >/dev/null || tests/lab/apt-install php-cli php-curl
	# Whoever backs up has the keys on the controller.
	command -v age >/dev/null || tests/lab/apt-install age
	# Rules are read back by python-iptables, which pip builds.
	$(PYTHON) -c 'import iptc' 2>/dev/null || $(LIBIPTC) 2>/dev/null || \
		{ tests/lab/apt-install gcc libc6-dev libxtables12 python3-dev && $(LIBIPTC); }

# --- Keep it current ------------------------------------------------------------------------
# The locks hold no index addresses and no hashes of local wheels: nothing of the machine that
# makes them. The controller's packages are for Python 3.11 and later, whatever the machine has; the
# images' for theirs. (rfc3987-syntax and lark take 0.75 s to import, isoduration and arrow 0.1 s, for
# formats that nothing here validates; jsonschema does without them.)
UV_COMPILE = env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL -u UV_FIND_LINKS -u UV_EXTRA_INDEX_URL -u UV_INDEX \
	$(CURDIR)/.venv/bin/uv pip compile --quiet --no-config --default-index https://pypi.org/simple \
	--upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'
UV_IMAGE = $(UV_COMPILE) --python-version 3.13 --python-platform x86_64-unknown-linux-gnu \
	$(addprefix --no-emit-package ,rfc3987-syntax lark isoduration arrow)
# What one list takes over from another comes after that.
IMAGE_LOCKS = $(addprefix images/,hub/requirements notebook/requirements \
	notebook/requirements-science notebook/requirements-cpp-build notebook/requirements-cpp)

lock: venv ## Refresh all locks to current versions: the controller's and the images'
	set -e; for list in $(wildcard requirements/*.in); do \
		echo "Locking $$list"; $(UV_COMPILE) --universal --python-version 3.11 \
			--output-file "$${list%.in}.txt" "$$list"; done
	set -e; for list in $(IMAGE_LOCKS); do \
		echo "Locking $$list.in"; (cd $$(dirname $$list) && \
			$(UV_IMAGE) --output-file $$(basename $$list).txt $$(basename $$list).in); done
	command -v npm >/dev/null || tests/lab/apt-install npm
	set -e; for list in images/proxy images/notebook/extension; do \
		echo "Locking $$list/package.json"; (cd $$list && npm install --package-lock-only \
			--ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund --no-update-notifier); done

image-report: venv ## What the notebook image weighs, and how quickly its kernels start (needs the base image)
	$(PYTHON) -m tests.kernels.report $(IMAGES)

settings-reference: controller ## Write docs/settings.md anew from the settings' model
	$(PYTHON) -m hubhost.settings_reference

# An epoch is a day: patch raises it once a day at most, so that a run that goes on builds nothing anew.
RAISE_EPOCH = awk -v today=$$(date +%Y%m%d) -v always=$(1) \
	'/^images_epoch = [0-9]+/ { new = $$3 < today ? today : $$3 + always; sub(/= [0-9]+/, "= " new); found = 1 } \
	{ print } END { exit !found }' group_data/all.py >group_data/all.py.new \
	&& mv group_data/all.py.new group_data/all.py && grep '^images_epoch' group_data/all.py

refresh-images: ## Let Debian's fixes in: the next deploy rebuilds all images, the next lab too
	$(call RAISE_EPOCH,1)
	python3 -m tests.lab refresh
