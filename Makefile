PYTHON ?= python3
BIN := .venv/bin
SERVICE := .venv/.service-installed
TOOLS := .venv/.tools-installed
FASHION := .venv/fashion-mnist
MLFLOW := .venv-mlflow/bin/mlflow
AUDIT := .venv-audit/bin/pip-audit

.PHONY: help install demo up test check audit conformance conformance-full faults-quick faults bench bench-api bench-load bench-files bench-digits bench-images bench-losses bench-missing-class bench-knowledge-rows bench-checkpoints
.DEFAULT_GOAL := help

help:  ## say what each target does
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(TOOLS)  ## make .venv with the service and the tools for working on it

demo: $(SERVICE)  ## distil a small network on real digits, from start to answer
	$(BIN)/stillhouse demo

up: $(SERVICE)  ## run the service on this machine until Ctrl-C
	$(BIN)/stillhouse up

test: $(TOOLS) $(FASHION)  ## run every test, with real PostgreSQL, Valkey and S3
	$(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=

check: $(TOOLS)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(AUDIT)  ## has a pinned version a known vulnerability? asks pypi.org, and so needs the internet
	$(AUDIT) --requirement constraints.txt --no-deps --disable-pip --strict || \
	  { echo "make audit: a version is vulnerable, or pypi.org could not be asked; see above" >&2; exit 1; }

$(AUDIT):
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit==2.10.1

conformance: $(TOOLS)  ## is every answer as /openapi.json says? 10,000 requests on both databases; a minute
	$(BIN)/python -m tests.conformance --requests 10000

conformance-full: $(TOOLS)  ## the same with 100,000 requests
	$(BIN)/python -m tests.conformance --requests 100000

faults-quick: $(TOOLS)  ## kill, stop, cut, fill and damage all parts of a running service; some minutes
	$(BIN)/python -m tests.faults --quick --lanes 2
	$(BIN)/python -m tests.faults --prove --lanes 2

faults: $(TOOLS)  ## the same thousands of times; many hours
	$(BIN)/python -m tests.faults --full --lanes 2

bench: bench-images bench-knowledge-rows bench-missing-class bench-digits bench-checkpoints bench-api bench-load bench-files  ## every figure that has a bar

bench-images: $(TOOLS) $(FASHION)  ## is distilling from knowledge faster than running the teacher along?
	$(BIN)/python -m benchmarks.image_distillation

bench-knowledge-rows: $(TOOLS)  ## how fast is knowledge read, and how small is it?
	$(BIN)/python -m benchmarks.knowledge_rows

bench-missing-class: $(TOOLS)  ## does a student know a digit that it has never seen?
	$(BIN)/python -m benchmarks.missing_class

bench-losses: $(TOOLS)  ## which losses help? all of them on ten seeds of digits; half an hour
	$(BIN)/python -m benchmarks.losses

bench-checkpoints: $(TOOLS)  ## what do checkpoints cost? at most 2 % of the time
	$(BIN)/python -m benchmarks.checkpoint_overhead

bench-api: $(TOOLS) $(MLFLOW)  ## how fast is the API ready, how large is it, how fast beside MLflow's server?
	$(BIN)/python -m benchmarks.api_process
	$(BIN)/python -m benchmarks.api_rates $(MLFLOW)

bench-load: $(TOOLS)  ## what are 1,000 clients at once answered, and what do racing copies of a request make?
	$(BIN)/python -m benchmarks.load

$(MLFLOW):
	$(PYTHON) -m venv .venv-mlflow
	.venv-mlflow/bin/python -m pip install --quiet mlflow==3.17.2 "psycopg[binary]"

bench-files: $(TOOLS)  ## does a file of 5 GB go to the API and back in 64 MiB of memory?
	$(BIN)/python -m benchmarks.large_files

bench-digits: $(TOOLS)  ## does distilling help? ten seeds on digits, with a bar to clear
	$(BIN)/python -m benchmarks.digits

# torch comes first and alone, so that what follows takes the build that is there.
$(SERVICE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(TOOLS): $(SERVICE)
	$(BIN)/python -m pip install --quiet -c constraints.txt --group dev
	touch $@

$(FASHION): | $(SERVICE)
	bash tests/acceptance/fashion_mnist.sh $@
