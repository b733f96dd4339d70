# Each target makes the environment first. PYTHON picks the interpreter.
PYTHON ?= python3
# Processes that run the tests; each takes up to 5 GB.
JOBS ?= 2
VENV ?= .venv
BIN = $(VENV)/bin

# Large buffers in huge pages: on a CPU, Linux otherwise spends up to half of a
# training step on handing out small ones.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: env quickstart quickstart-full test test-slow lint clean

env: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt -e ".[dev,tracks,text,beam,onnx,quantize]"
	touch $@

quickstart: env
	$(BIN)/trajvit quickstart

quickstart-full: env
	$(BIN)/trajvit quickstart --full

# Tests compile much and compute little: what XLA optimises costs more than it
# saves.
PYTEST = JAX_PLATFORMS=cpu JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
  $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test: env
	$(PYTEST)

test-slow: env
	$(PYTEST) -m slow

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) runs *.egg-info
