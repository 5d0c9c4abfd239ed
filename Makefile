# make demo     creates the environment, then makes the clip of the README
# make test     adds the test tools to the environment, then runs every check
# make gpu      runs what only a CUDA GPU can show, in about ten minutes
# make docs     builds the documentation with its API pages in site/
# make release  builds wheel and sdist in dist/, with licenses, a bill of materials and known vulnerabilities
# make matrix   installs both with pip and uv in each Python that is here, and writes the tables of docs/install.md
# make coverage runs the tests and reports the lines that none of them reaches, also in htmlcov/
# make models   trains the bundled models from scratch; resumes an interrupted run
# make emoji    trains the bundled emoji model from bundled/image likewise; fetches the pictures with npm
#
# On a machine with a CUDA GPU add GPU=1.  PYTHON=python3.12 selects the interpreter, PIP_ARGS is passed to pip.

PYTHON ?= python3
PIP_ARGS ?=
GPU ?=
# PyTorch's own index of CPU builds: on Linux, PyPI's build includes CUDA's libraries.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# make models: size of the training data and minutes of training; about those of the bundled weights
DATA ?= data/toybox
IMAGES ?= 98304
CLIPS ?= 5120
OBJECTS ?= 98304
LARGE ?= 6144
FIRST_STAGE_MINUTES ?= 30
IMAGE_MINUTES ?= 60
VIDEO_MINUTES ?= 240
WEAK_IMAGE_MINUTES ?= 25
SUPER_RESOLUTION_MINUTES ?= 30
SHARPENING_MINUTES ?= 50
INTERPOLATION_MINUTES ?= 20
DISTILLATION_MINUTES ?= 30
EMOJI_MINUTES ?= 230

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install $(PIP_ARGS)
ifeq ($(GPU),)
CONSTRAINT := --constraint constraints-cpu.txt
else
CUDA := [cuda]
endif

.PHONY: demo test gpu docs release matrix coverage models emoji clean

demo: .venv/installed
	$(BIN)/gen-video "a panda on a swing"

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile

gpu: .venv/installed-test
	$(BIN)/python -m pytest tests/gpu --durations=0 -rs

coverage: .venv/installed-test
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered --cov-report=html

# Reads the sources without importing them, and needs no network. The variable silences a notice about mkdocs 2.
docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --clean

# What is listed is the environment of somebody who installs the wheel with all its extras for use.
# hadolint reads the containers; GPL in a dependency's license is an error; so is one that pip-audit knows to be vulnerable.
RELEASE := .venv-release/bin/python
release: .venv/installed-release
	rm -rf dist .venv-release
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*.whl dist/*.tar.gz
	$(BIN)/hadolint installation/*.Dockerfile
	$(PYTHON) -m venv .venv-release
	$(RELEASE) -m pip install $(PIP_ARGS) --retries 1 $(CONSTRAINT) --extra-index-url $(TORCH_INDEX) "dreamlift[lora,studio,usd] @ file://$$(ls $(CURDIR)/dist/*.whl)"
	$(BIN)/pip-licenses --python $(RELEASE) --format csv --with-urls --partial-match --fail-on GPL --output-file dist/licenses.csv
	$(BIN)/cyclonedx-py environment $(RELEASE) --pyproject pyproject.toml --output-file dist/sbom.cdx.json
	$(RELEASE) -m pip freeze --exclude dreamlift | sed 's/+cpu$$//' > dist/requirements.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement dist/requirements.txt

# The environments are made in the folder for temporary files: several GB each, one at a time.
matrix: .venv/installed-release
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m installation.matrix

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Dreamlift needs Python 3.10 or newer." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints-cpu.txt | .venv/bin/python
ifeq ($(GPU),)
	$(PIP) --retries 1 --no-deps $(CONSTRAINT) --extra-index-url $(TORCH_INDEX) torch
endif
	$(PIP) $(CONSTRAINT) --editable .$(CUDA)
	touch $@

.venv/installed-test: .venv/installed
	$(PIP) $(CONSTRAINT) --editable .[test]
	touch $@

.venv/installed-docs: .venv/installed
	$(PIP) $(CONSTRAINT) --editable .[docs]
	touch $@

.venv/installed-release: .venv/installed
	$(PIP) $(CONSTRAINT) --editable .[release]
	touch $@

# Rendering, training and exporting resume; completed parts are skipped.
# The training of the video model also trains the image layers: both bundled models are exported from its run.
# The weaker version that guides both rests on the first stage of the image model, so it is exported after it.
models: .venv/installed
	$(BIN)/dreamlift toybox --out $(DATA) --images $(IMAGES) --clips $(CLIPS) --objects $(OBJECTS) --large $(LARGE)
	test -f runs/first-stage/config.json || $(BIN)/dreamlift train autoencoder --data $(DATA) --run runs/autoencoder --out runs/first-stage --minutes $(FIRST_STAGE_MINUTES) --resume
	$(BIN)/dreamlift train image --data $(DATA) --first-stage runs/first-stage --run runs/image --minutes $(IMAGE_MINUTES) --resume
	$(BIN)/dreamlift train video --data $(DATA) --run runs/video --init runs/image --minutes $(VIDEO_MINUTES) --resume
	$(BIN)/dreamlift train export --run runs/video --image --out core/bundled/image
	$(BIN)/dreamlift train export --run runs/video --base core/bundled/image --out core/bundled/video
	$(BIN)/dreamlift train image --preset weak-image --data $(DATA) --first-stage runs/first-stage --run runs/weak-image --minutes $(WEAK_IMAGE_MINUTES) --resume
	$(BIN)/dreamlift train export --run runs/weak-image --base core/bundled/image --int8 --out core/bundled/weak/image
	test -f runs/super-resolution-plain/config.json || $(BIN)/dreamlift train super-resolution --data $(DATA) --run runs/super-resolution --out runs/super-resolution-plain --model core/bundled/image --minutes $(SUPER_RESOLUTION_MINUTES) --resume
	$(BIN)/dreamlift train super-resolution --preset super-resolution-sharp --data $(DATA) --run runs/super-resolution-sharp --init runs/super-resolution-plain --out core/bundled/super_resolution --model core/bundled/image --minutes $(SHARPENING_MINUTES) --resume
	$(BIN)/dreamlift train interpolation --data $(DATA) --run runs/interpolation --out core/bundled/interpolation --first-stage core/bundled/image --int8 --minutes $(INTERPOLATION_MINUTES) --resume
	$(BIN)/dreamlift train distill --data $(DATA) --run runs/distilled --out core/bundled/distilled --model core/bundled/video --minutes $(DISTILLATION_MINUTES) --resume
	$(BIN)/dreamlift toybox --out $(DATA)-judge --images 49152 --textureless 49152 --clips 10240 --seed 1000 --all
	test -f runs/judge/config.json || $(BIN)/dreamlift train judge --data $(DATA)-judge --out runs/judge --steps 11000
	mkdir -p core/bundled/judge && cp runs/judge/* core/bundled/judge/

emoji: .venv/installed
	$(PIP) $(CONSTRAINT) --editable .[examples]
	test -f data/emoji/metadata.csv || $(BIN)/python examples/fetch_emoji.py data/emoji
	$(BIN)/dreamlift train image --preset emoji --data data/emoji --init bundled --run runs/emoji --minutes $(EMOJI_MINUTES) --resume
	$(BIN)/dreamlift train export --run runs/emoji --int8 --out core/bundled/emoji

clean:
	rm -rf .venv .venv-release dist site htmlcov .coverage .pytest_cache .ruff_cache .hypothesis .import_linter_cache a-panda-on-a-swing.*
	find core video dream3d dreamlift tests -name __pycache__ -prune -exec rm -rf {} +
