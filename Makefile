# Commands of this project. Each first installs its requirements in .venv.
PYTHON ?= python3
# On Linux, `torch` from PyPI includes CUDA. Pin a build for your machine here.
TORCH ?= torch==2.13.0

BIN := .venv/bin
DEMO_OUT ?= outputs/demo.wav
API_PORT ?= 8000
# `make train` saves its state here and resumes from it; `make evaluate` measures MODEL.
TRAINING ?= $(HOME)/.cache/musicgen-training
MODEL ?= demo

.PHONY: demo api test test-images check check-infra lock sbom bench bench-gpu train evaluate clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/musicgen generate "upbeat piano melody in C major" --model demo --duration 4 --seed 7 -o $(DEMO_OUT)

# The job API and its page at http://127.0.0.1:$(API_PORT), until Ctrl-C.
api: .venv/api-installed
	$(BIN)/musicgen serve all --port $(API_PORT)

# Four processes also on two processors: a third of the time is spent waiting for servers.
test: .venv/infra-installed .venv/hf-emulator/installed
	$(BIN)/python -m pytest -m "not slow and not gpu and not browser and not images" -n 4 --dist loadfile

# Build the images of the Dockerfiles, and run the compose file's services in containers. As root, with
# the Debian packages buildah, runc, debootstrap and iproute2; the page needs chromium too.
test-images: .venv/dev-installed
	$(BIN)/python -m infra.images.build
	$(BIN)/python -m pytest -q -m images tests/images

check: .venv/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

# Check the files of infra/ for clusters, image builders and workflow runners with their linters.
check-infra: .venv/dev-installed .venv/infra-installed .venv/checkov/installed
	$(BIN)/python -m infra.check
	$(BIN)/python -m pytest -q tests/infra/test_manifests.py tests/infra/test_infra_files.py \
		tests/infra/test_scans.py

# Compile the images' requirement files; `make lock UPGRADE=--upgrade` takes the newest versions.
lock: .venv/infra-installed
	$(BIN)/python -m infra.lock $(UPGRADE)

# List the packages of each image with their hashes, as CycloneDX.
sbom: .venv/infra-installed
	mkdir -p outputs/sbom
	for file in docker/api-requirements docker/worker-requirements docker/torch-requirements \
			runpod/requirements; do \
		$(BIN)/cyclonedx-py requirements infra/$$file.txt \
			--output-file outputs/sbom/$$(echo $$file | tr / -).json || exit 1; \
	done

bench: .venv/dev-installed
	$(BIN)/python bench/decode.py

bench-gpu: .venv/dev-installed
	$(BIN)/python bench/gpu.py

train: .venv/dev-installed
	$(BIN)/python -m training --folder $(TRAINING)

evaluate: .venv/dev-installed
	$(BIN)/python -m training.held_out outputs/held-out
	$(BIN)/musicgen evaluate --model $(MODEL) --music outputs/held-out

clean:
	rm -rf .venv outputs

.venv/torch-installed:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$(TORCH)"
	touch $@

.venv/installed: .venv/torch-installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/api-installed: .venv/torch-installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[api,s3]"
	touch .venv/installed $@

.venv/dev-installed: .venv/torch-installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch .venv/installed .venv/api-installed $@

.venv/infra-installed: .venv/dev-installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[infra]"
	touch $@

# Checkov needs older versions of shared packages, so it has its own environment.
.venv/checkov/installed: .venv/torch-installed
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check "checkov>=3.3"
	touch $@

# Hugging Face's emulator needs an older starlette than runpod, so it has its own folder, visible to
# the emulator's process alone (tests/support/hf_emulator.py).
.venv/hf-emulator/installed: .venv/torch-installed
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target $(@D) \
		hf-endpoints-emulator==0.1.1 "starlette<1"
	touch $@
