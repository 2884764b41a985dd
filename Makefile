# make help lists the targets. PYTHON chooses the interpreter that the environment is made with.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo paper test test-process test-slurm check lint types format bench parity wheel clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,slurm]'
	@touch $@

demo: $(READY)  ## Set up, then a small study of the embedded data set, report and all (some 5 minutes, no download)
	$(BIN)/simclr-med stage=study dataset=synthetic logger=none stage.epochs=15 stage.supervised_epochs=10 \
		'stage.curve=[50,250,full]' 'stage.supervised=[100,full]' 'stage.repeats=[0,1]'

# The thesis's study and what belongs beside it, pretraining first: 1,076 cells.
PAPER := thesis_pretrain further_pretrain label_efficiency control class_balance augmentation_ablation transfer \
	further_probe

paper: $(READY)  ## Every grid of the thesis's study, one after another; make paper WORDS="dry_run=true" lists the cells
	@failed=0; for grid in $(PAPER); do $(BIN)/simclr-med grid=$$grid $(WORDS) || failed=1; done; exit $$failed

test: $(READY)  ## The default tests: under 5 minutes on 2 cores, no network, no GPU
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m "not process and not slurm"

test-process: $(READY)  ## Tests that start real training processes
	$(BIN)/python -m pytest -q -m process

test-slurm: $(READY)  ## Tests on a real SLURM of one node: needs root and Debian's slurm-wlm and munge
	$(BIN)/python -m pytest -q -m slurm

check: lint types test  ## Lint, types and tests

lint: $(READY)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy on src
	$(BIN)/mypy src

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Every speed figure in one run, against peers and in parts (about 13 minutes on two cores)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/bench.py

parity: $(READY)  ## Each augmentation against PIL, on images of yours: make parity DATA=cells.npz
	$(BIN)/python benchmarks/parity.py $(DATA)

wheel: $(READY)  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## Remove what was built; runs/ stays
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache
