# Every command of the project; CI and the pre-commit hooks use the same ones.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3.11
OUT ?= demo-out
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MODELS := $(patsubst %/model.yaml,%,$(wildcard models/*/model.yaml))
# What is installed must not depend on what else the caller's shell has set up.
unexport PYTHONPATH PYTHONHOME

.PHONY: help setup demo up test check lint contract protos chart images images-check bundle locks docs format train bench-labels bench-attention bench-detection fit-attention bench-serving bench-gpu experiment clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make .venv with everything that is needed (once; some minutes, 2 to 6 GB)

demo: $(READY) ## run a whole campaign on synthetic CTs or CT=<file, case or folder>; writes OUT=demo-out
	@$(BIN)/atlas demo --out "$(OUT)" $(if $(CT),--ct "$(CT)")

up: $(READY) ## run the five services and Triton on this machine until Ctrl-C
	@$(BIN)/atlas up

test: $(READY) ## run the tests, two files at a time; TESTS=<folder or file> runs some of them, WORKERS=0 one at a time
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: lint contract ## everything CI checks besides the tests

lint: $(READY) ## style, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

contract: $(READY) ## proto rules, and that all that is generated is up to date
	@$(BIN)/buf lint
	@tools/protos build/gen && diff -r -x __pycache__ build/gen gen || { echo "gen/ is out of date: run make protos" >&2; exit 1; }
	@$(BIN)/python docs/reference.py --check
	@$(BIN)/python -m services.serving.repository models --check
	@$(BIN)/python -m charts.schema --check

protos: $(READY) ## generate gen/ from protos/
	@tools/protos gen

chart: $(READY) ## write the chart's values.yaml and their schema from charts/schema
	@$(BIN)/python -m charts.schema

images: $(READY) ## build the container images and a bill of materials of each; IMAGES="storage triton" builds some
	@images/build $(IMAGES)

images-check: $(READY) ## run the built images as the chart does, in a network that leads nowhere; IMAGES="storage triton" runs some
	@PYTHONPATH=.:gen $(BIN)/python -m images.checks $(IMAGES)

bundle: $(READY) ## write what an installation without internet needs to build/bundle
	@rm -rf build/bundle
	@$(BIN)/python images/bundle.py build/bundle
	@echo "build/bundle is ready$$(test -d build/bundle/archives || echo ', without archives of images: make images first, or let mirror.sh copy from a registry')"

locks: $(READY) ## renew images/locks, what each image holds, from requirements.lock
	@$(BIN)/python images/lock.py

docs: $(READY) ## write docs/settings.md, docs/roles.md and docs/models.md from the code and the cards
	@$(BIN)/python docs/reference.py

format: $(READY) ## format the code and mend what can be mended
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format .

train: $(READY) ## train the demonstration networks on synthetic CTs and measure them (hours)
	@for model in $(MODELS); do $(BIN)/python -m services.serving.training train "$$model" --replace; done
	@$(BIN)/python -m services.serving.evaluate $(MODELS)
	@$(BIN)/python -m services.serving.repository models

bench-labels: $(READY) ## what labels cost, step by step, against what people run (half an hour; 8 GB of memory)
	@PYTHONPATH=.:gen $(BIN)/python -m benchmarks.labels

bench-attention: $(READY) ## attention against plain NumPy and SciPy (half an hour; 7 GB of memory)
	@PYTHONPATH=.:gen $(BIN)/python -m benchmarks.attention

bench-detection: $(READY) ## how well attention finds errors; CASES=<a case or folder of cases> judges it on those, PLOT=<folder> draws (some minutes on two free cores)
	@PYTHONPATH=.:gen $(BIN)/python -m benchmarks.error_detection $(if $(CASES),--cases "$(CASES)") $(if $(PLOT),--plot "$(PLOT)")

fit-attention: $(READY) ## fit what calibrated weighs evidence by; ATLAS_REAL_DATA=<folder of real data> as the fit that ships (some minutes on two free cores)
	@PYTHONPATH=.:gen $(BIN)/python -m benchmarks.error_detection.fit $(if $(ATLAS_REAL_DATA),--real-data "$(ATLAS_REAL_DATA)")

bench-serving: $(READY) ## what serving costs against MONAI's sliding window and patches (ten minutes)
	@PYTHONPATH=.:gen $(BIN)/python -m benchmarks.serving

bench-gpu: $(READY) ## the paper-size networks on a GPU: volumes an hour against MONAI's sliding window (minutes; needs a GPU)
	@PYTHONPATH=.:gen $(BIN)/python -m benchmarks.serving.gpu

experiment: $(READY) ## the loop, proven: what each acquisition function gains over drawing by lot (half an hour; goes on where it was cut off)
	@PYTHONPATH=.:gen $(BIN)/python -m benchmarks.experiment

clean: ## remove what is built, the environment and the demonstration's output
	rm -rf $(VENV) build/gen build/lib dist *.egg-info demo-out .*_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt-get install python3.11-venv libpython3.11 (Debian 12), or name yours: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) tools/check_python.py
	@echo "Setting up $(VENV) (some minutes; 2 GB, or 6 GB where pip takes the torch with CUDA) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c requirements.lock -e '.[all,dev]'
	@# Only its tritonserver is wanted: its own requirements would bring other versions of ours.
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps nvidia-pytriton==0.7.0
	@touch $@
