# Everything a person or a CI job types. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VENV := .venv
LABRUN := $(VENV)/bin/labrun
# The lab of quickstart and shell.
LAB ?= examples/kvm-network-lab.yaml
# A cloud image (qcow2 file) to run the lab from, in place of the debian-12 that labrun builds itself.
IMAGE ?=
PYTEST_ARGS ?=
# How many tests run at a time, on two processors: some only wait. `make test JOBS=1` runs one after the other.
JOBS ?= 3

# The first Python that is new enough.
PYTHON = $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))

# A single file is quicker without other processes: so only here, and not in pyproject.toml.
# Where no bytecode is written, each process compiles pytest's plugins and all modules again.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(VENV)/bin/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: ## install the system packages that are missing (says which; needs root)
	@scripts/install

$(VENV)/labrun.stamp: pyproject.toml | install
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer" >&2; exit 1; }
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[libvirt]'
	touch $@

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/labrun.stamp
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

.PHONY: venv
venv: $(VENV)/labrun.stamp $(VENV)/dev.stamp ## create the virtual environment, with what tests and checks need

.PHONY: hypervisor
hypervisor: | install ## start libvirtd: the system's, or an isolated one where there is no systemd
	@scripts/hypervisor start

.PHONY: image
image: $(VENV)/labrun.stamp | hypervisor
	@$(LABRUN) image build debian-12

.PHONY: quickstart
quickstart: $(VENV)/labrun.stamp | hypervisor ## install, build the image, and bring the example lab up, configured and verified
	@lab="$(LAB)"
	if [ -n "$(IMAGE)" ]; then
	    name=$$(basename "$(IMAGE)" | sed -E 's/\.(qcow2|img)$$//' | tr -c 'A-Za-z0-9.\n-' '-')
	    $(LABRUN) image import "$(IMAGE)" --name "$$name"
	    lab=$(VENV)/quickstart.yaml
	    sed -E "s/^( *defaults:.*image: *)[A-Za-z0-9._-]+/\1$$name/" "$(LAB)" >"$$lab"
	else
	    $(LABRUN) image build debian-12
	fi
	$(LABRUN) --lab "$$lab" up
	$(LABRUN) --lab "$$lab" configure
	$(LABRUN) --lab "$$lab" verify
	printf '%s\n' '' 'What to try next:' \
	    '  make shell                                    a shell in which labrun, ping and ssh reach this lab; in it:' \
	    '  labrun ssh host01 traceroute -n 172.17.0.11   the path through host00, hop by hop' \
	    '  labrun ssh host00 sudo sysctl net.ipv4.ip_forward=0 && labrun verify   break it, and see who notices'

.PHONY: test
test: $(VENV)/dev.stamp image ## run the tests, on real containers and real virtual machines
	@$(PYTEST) -m "not full" $(PYTEST_ARGS)

.PHONY: test-full
test-full: $(VENV)/dev.stamp image ## also run what takes long
	@HYPOTHESIS_PROFILE=full $(PYTEST) $(PYTEST_ARGS)

.PHONY: test-scale
test-scale: $(VENV)/dev.stamp image ## run the lab of a hundred containers: 24 GiB of memory, 20 minutes
	@$(VENV)/bin/pytest -m scale -s tests/e2e/test_hundred.py $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: JOBS = 6
test-unit: $(VENV)/dev.stamp ## run only the tests that need no libvirtd
	@$(PYTEST) tests/unit -m "not full" $(PYTEST_ARGS)

.PHONY: docs
docs: $(VENV)/dev.stamp ## build the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	echo "site/index.html"

.PHONY: pictures
pictures: $(VENV)/labrun.stamp | hypervisor ## draw the pictures of the documentation anew, from a real lab
	@for lab in docs/pictures/*.yaml; do
	    $(LABRUN) --lab "$$lab" graph --format svg >"$${lab%.yaml}.svg"
	done
	# A screen that shows something: forwarding is off on the router.
	export PATH="$(CURDIR)/$(VENV)/bin:$$PATH" LABRUN_LAB=$(CURDIR)/examples/kvm-network-lab.yaml
	labrun --quiet up --configure
	labrun ssh host00 sudo sysctl --quiet net.ipv4.ip_forward=0
	$(VENV)/bin/python -m release.screenshot docs/pictures/verify.svg labrun verify
	labrun --quiet configure
	echo "docs/pictures"

.PHONY: test-pythons
test-pythons: | install ## run the unit tests on each Python from 3.11 on that is installed
	@for python in $(foreach minor,11 12 13 14,$(shell command -v python3.$(minor))); do
	    place=$(VENV)/pythons/$$(basename "$$python")
	    echo "$$python" >&2
	    test -x "$$place/bin/pip" || "$$python" -m venv "$$place"
	    "$$place/bin/pip" install --quiet --disable-pip-version-check --editable '.[dev]'
	    env -u PYTHONDONTWRITEBYTECODE "$$place/bin/pytest" --numprocesses 6 --dist loadfile --no-loadscope-reorder \
	        tests/unit -m "not full" $(PYTEST_ARGS)
	done

.PHONY: check
check: $(VENV)/dev.stamp ## lint, format and types, and the shell of guests
	@$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	# Values that a fragment uses stand in a head made for it, and other fragments use its own: SC2154, SC2034.
	shellcheck --shell=sh --exclude=SC2154,SC2034 templates/guest/*.sh templates/hypervisor/*.sh
	for file in templates/guest/*.sh templates/hypervisor/*.sh; do dash -n "$$file"; done

.PHONY: shell
shell: $(VENV)/labrun.stamp | hypervisor ## a shell in which labrun, ping and ssh reach the lab (LAB=FILE chooses another)
	@export SHELL_LAB="$$(realpath "$(LAB)")" PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
	exec scripts/hypervisor enter bash --rcfile "$(CURDIR)/scripts/shellrc" -i

.PHONY: bench
bench: $(VENV)/dev.stamp image ## measure labrun and what it is compared with
	@$(VENV)/bin/python -m benchmarks

.PHONY: package
package: $(VENV)/dev.stamp ## build the source package and the wheel in dist/, and check their metadata
	@rm -rf dist/labrun-*.tar.gz dist/labrun-*.whl build/sdist
	$(VENV)/bin/python -m hatchling build -t sdist -d dist
	# The wheel is made of what is in the source package, so that neither lacks what the other has.
	mkdir -p build/sdist
	tar -xzf dist/labrun-*.tar.gz -C build/sdist --strip-components=1
	(cd build/sdist && "$(CURDIR)/$(VENV)/bin/python" -m hatchling build -t wheel -d "$(CURDIR)/dist")
	$(VENV)/bin/twine check --strict dist/*.tar.gz dist/*.whl

.PHONY: deb
deb: $(VENV)/dev.stamp ## build the Debian package in dist/
	@$(VENV)/bin/python -m release.deb dist

.PHONY: clean
clean: ## remove caches and build products; labs and images stay
	@rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
