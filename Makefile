# The two commands of the README: `make demo` and `make test`. Both set up all they need in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := requirements/lock.txt
JOBS ?= auto

.PHONY: demo test check matrix frameworks benchmark

demo: $(VENV)/.demo
	$(BIN)/front-onnx inspect models/digits/digits.onnx
	$(BIN)/front-onnx resize models/digits/digits.onnx --depth 3 --dry-run
	$(BIN)/python models/digits/demo.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS)

check: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

matrix: $(VENV)/.matrix
	$(BIN)/python tests/matrix/run.py $(MATRIX)

frameworks: $(VENV)/.matrix
	$(BIN)/python -m pytest tests/test_keras_home.py tests/test_flax_home.py

benchmark: $(VENV)/.demo
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/analysis.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml $(LOCK)
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[demo]'
	touch $@

# timm asks for a torchvision that would bring another torch along: both are installed without what they ask for.
$(VENV)/.test: $(BIN)/python pyproject.toml $(LOCK)
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[demo,test]'
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --no-deps torchvision timm
	touch $@

$(VENV)/.matrix: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[matrix]'
	touch $@
