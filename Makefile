# make help lists the targets. PYTHON chooses the interpreter of the environment.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# What codespell reads.
SPELLED := src tests docs conf benchmarks .github Makefile mkdocs.yml pyproject.toml \
	README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md CITATION.cff

# Seconds of `make fuzz`.
FUZZ_S ?= 600

.DEFAULT_GOAL := help
.PHONY: help demo paper test test-process test-notebooks test-gpu test-slurm faults fuzz check lint audit types format docs bench \
	bench-gpu bench-growth bench-tables results parity wheel clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs,slurm,optuna,export,dicom,parquet]'
	@touch $@

demo: $(READY)  ## Install, then study the synthetic data set and write its report (about 5 minutes, no download)
	$(BIN)/simclr-med stage=study dataset=synthetic logger=none optimizer.lr=1e-3 \
		stage.encoders=1 stage.epochs=20 stage.batch_size=64 stage.temperature=0.2 stage.supervised_epochs=20 \
		stage.supervised_min_steps=200 'stage.repeats=[0,1,2,3,4]' 'stage.curve=[50,250,full]' 'stage.supervised=[100]'

# The thesis's study and its controls, pretraining first: 4,896 sweep jobs.
NOVEL := init.augmentation=novel encoder=resnet18
PAPER := thesis_pretrain "further_pretrain augmentation=novel $(NOVEL)" "label_efficiency $(NOVEL)" "control encoder=resnet18" \
	"supervised $(NOVEL)" "class_balance $(NOVEL)" \
	"augmentation_ablation encoder=resnet18 init.augmentation=natural,simple,novel,greyscale" \
	"transfer $(NOVEL)" "further_probe $(NOVEL)"

paper: $(READY)  ## Every grid of the thesis's study, in order; make paper OVERRIDES="dry_run=true" lists the jobs
	@failed=0; for grid in $(PAPER); do $(BIN)/simclr-med grid=$$grid $(OVERRIDES) || failed=1; done; exit $$failed

test: $(READY)  ## Run the default tests: about 7 minutes on 2 cores, no network, no GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m "not process and not notebook and not slurm and not gpu"

test-process: $(READY)  ## Run the tests that start real training processes
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m process

test-notebooks: $(READY)  ## Run the notebooks of the documentation (minutes)
	$(BIN)/python -m pytest -q -n 2 -m notebook

test-gpu: $(READY)  ## Run the tests on an NVIDIA GPU (about 4 minutes)
	$(BIN)/python -m pytest -q -m gpu

test-slurm: $(READY)  ## Run the tests on a real SLURM of two nodes: needs root and Debian's slurm-wlm and munge
	$(BIN)/python -m pytest -q -m slurm

fuzz: $(READY)  ## Run the property tests of the readers of files for 10 minutes (FUZZ_S=60: one minute), in rounds
	@end=$$(( $$(date +%s) + $(FUZZ_S) )); while [ $$(date +%s) -lt $$end ]; do \
		HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -q -n 2 -m fuzz || exit 1; done

check: lint types test  ## Run lint, spelling, types and the default tests

lint: $(READY)  ## Run ruff, codespell and bandit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell $(SPELLED)
	$(BIN)/bandit --quiet --recursive --severity-level medium src

audit: $(READY)  ## Look for known vulnerabilities of the installed packages (needs network)
	$(BIN)/pip-audit --local --skip-editable

faults: $(READY)  ## Inject faults into the writes of every stage (10 minutes, Linux); docs/faults.md explains it
	nice -n 10 $(BIN)/python tests/faults/writers.py --minutes 10

types: $(READY)  ## Run mypy on src
	$(BIN)/mypy src

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## Build the documentation into site/, strictly; needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY)  ## Measure the speed, against peers and in parts (about 18 minutes on two cores); JSON=FILE saves it
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/bench.py $(JSON:%=--json %)

bench-growth: $(READY)  ## Measure a folder of 200,000 images and 1,000,000 images in a file (30 GB of disk); JSON=FILE
	$(BIN)/python benchmarks/large_sets.py $(JSON:%=--json %)

bench-tables: $(READY)  ## Write the measurements of benchmarks/results/ into README.md and docs/speed.md
	$(BIN)/python benchmarks/page_tables.py

results: $(READY)  ## Run a study on each data set of DATA="..." (hours; resumes); make bench-tables writes docs/results.md
	$(BIN)/python benchmarks/results.py $(DATA) --overrides "$(OVERRIDES)"

bench-gpu: $(READY)  ## Measure the speed on a GPU (about 8 minutes); QUICK=--quick takes three
	$(BIN)/python benchmarks/gpu.py $(QUICK)

parity: $(READY)  ## Compare each augmentation with PIL on your images: make parity DATA=cells.npz
	$(BIN)/python benchmarks/parity.py $(DATA)

wheel: $(READY)  ## Build the source archive and the wheel into dist/, and check them
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:  ## Delete built files; runs/ stays
	rm -rf dist build site .pytest_cache .mypy_cache .ruff_cache
