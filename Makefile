# `make help` lists the targets. All of them work in .venv, which `make setup`
# fills from requirements.lock; with an empty LOCK it holds the newest releases
# that pyproject.toml allows.

LOCK ?= requirements.lock
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
KIND := $(if $(LOCK),,-newest)
FILLED := $(VENV)/.filled$(KIND)
READY := $(VENV)/.ready$(KIND)
BENCH_READY := $(VENV)/.bench-ready
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python; do \
  $$p -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint format bench lock clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1~\2/p' Makefile | tr '~' '\t'

setup: $(READY)  ## Create .venv with the locked packages and this one

# Cleared first, so that the environment never holds more than the lock says.
$(FILLED): $(LOCK)
	@test -n '$(PYTHON)' || \
	  { echo 'No Python >= 3.11 found; name one: make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || \
	  { echo '$(PYTHON) is not a Python >= 3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo '$(PYTHON) lacks venv or ensurepip (on Debian and Ubuntu:' \
	    'apt install python3-venv)' >&2; exit 1; }
	@echo 'Filling $(VENV): about 1 GB, a few minutes the first time'
	@$(PYTHON) -m venv --clear $(VENV)
ifneq ($(LOCK),)
	@$(PIP_INSTALL) -r $(LOCK)
endif
	@touch $@

# A change of what describes the package is installed into what is there.
$(READY): $(FILLED) pyproject.toml setup.py zssr_jax/_version.py
ifneq ($(LOCK),)
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
else
	@$(PIP_INSTALL) -e '.[test,lint]'
endif
	@touch $@

demo: $(READY)  ## Super-resolve the bundled photo
	@rm -f out/astronaut_lr_x2*  # an earlier demo's; main.py overwrites nothing
	$(BIN)/python bin/main.py

# A file of tests goes to one process: its tests share what they make.
test: $(READY)  ## Run all tests (ARGS='-k resize' for some, JOBS=4 at a time)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-fast: $(READY)  ## Run the tests that are not marked slow
	$(BIN)/python -m pytest -m 'not slow' $(ARGS)

lint: $(READY)  ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy zssr_jax bin/main.py
	$(BIN)/mypy bin/eval_all  # scripts are one module, __main__
	$(BIN)/mypy bin/train_backbone
	$(BIN)/mypy bin/convert_weights

format: $(READY)  ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(BENCH_READY): $(READY)
	@$(PIP_INSTALL) $(addprefix -c ,$(LOCK)) -e '.[bench]'
	@touch $@

bench: $(BENCH_READY)  ## Time a training step and one image, against PyTorch
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/one_image.py

# Resolved on Python 3.11, the oldest supported, so that it fits all newer ones.
lock:  ## Resolve requirements.lock anew (needs python3.11)
	@rm -rf .cache/lock
	@python3.11 -m venv .cache/lock
	@.cache/lock/bin/python -m pip install --quiet -e '.[test,lint]'
	@{ sed '/^[^#]/,$$d' requirements.lock; .cache/lock/bin/python -m pip \
	  freeze --all --exclude pip --exclude zssr_jax; } > .cache/lock/new
	@mv .cache/lock/new requirements.lock
	@rm -rf .cache/lock

clean:  ## Remove .venv and all caches, but no results
	rm -rf $(VENV) .cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
