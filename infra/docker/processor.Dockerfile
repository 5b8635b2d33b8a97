# Image of a worker of the job API for processors: no torch, less than 300 megabytes.
#     docker build -f infra/docker/processor.Dockerfile --build-arg BASE=python@sha256:... -t OWNER/musicgen-processor .
# It serves one packed native file with the native library. torch packs MODEL in a folder of its own,
# which stays in the build stage.
#
# --build-arg MODEL=small puts its weights into the image. All except `demo` are Meta's, licensed
# CC-BY-NC-4.0, no commercial use, and so is an image with them: its label needs
# --build-arg LICENSES='Apache-2.0 AND CC-BY-NC-4.0'. With MODEL=none, MUSICGEN_MODEL names a packed
# native file on a volume. --build-arg REQUIREMENTS=worker-requirements.txt adds PyAV, 100 megabytes
# that read m4a, mp4 and webm.
ARG BASE
FROM ${BASE} AS build

ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HOME=/tmp/huggingface
RUN apt-get update && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
ARG REQUIREMENTS=processor-requirements.txt
COPY infra/docker/processor-requirements.txt infra/docker/worker-requirements.txt \
    infra/docker/torch-cpu-requirements.txt /tmp/
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --requirement "/tmp/${REQUIREMENTS}" \
    # For checkpoints of the hub, which are not packed; huggingface_hub does without it.
    && /opt/venv/bin/pip uninstall --yes hf-xet
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY musicgen musicgen
COPY musicgen_client musicgen_client
COPY handlers handlers
COPY infra/coldstart infra/coldstart
# Without the library this image could not serve, so its presence is checked.
RUN /opt/venv/bin/pip install --no-deps . \
    && ls /opt/venv/lib/python3*/site-packages/musicgen/model/native/_step*.so

# On a machine without access to PyTorch's index: --build-arg PIP_EXTRA_INDEX_URL=URL
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN /opt/venv/bin/pip install --target /opt/torch --requirement /tmp/torch-cpu-requirements.txt
ARG MODEL=demo
ARG FORM=native-int8
ARG LICENSES=Apache-2.0
RUN case "${MODEL}:${LICENSES}" in demo:*|none:*|*:*CC-BY-NC-4.0*) ;; *:Apache-2.0) \
      echo "The label must name the licence of the weights. For Meta's add --build-arg" \
        "LICENSES='Apache-2.0 AND CC-BY-NC-4.0'." >&2; exit 1;; esac
RUN mkdir /opt/weights \
    && if [ "${MODEL}" != none ]; then \
         PYTHONPATH=/opt/torch /opt/venv/bin/musicgen pack "${MODEL}" --form "${FORM}" \
           -o /opt/weights/model.packed; \
       fi
# The demo's own weights are not packed, so they need torch. The diet makes its clips without torch.
RUN rm /opt/venv/lib/python3*/site-packages/musicgen/demo/checkpoint/model.safetensors \
    && if [ "${MODEL}" != none ]; then set -- --model /opt/weights/model.packed; \
       else set -- --import musicgen.predictor; fi \
    && /opt/venv/bin/python -m infra.coldstart.diet "$@"

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG LICENSES=Apache-2.0
LABEL org.opencontainers.image.title="MusicGen worker for processors" \
      org.opencontainers.image.licenses="${LICENSES}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MUSICGEN_DATA_DIR=/data \
    MUSICGEN_MODEL=/opt/weights/model.packed \
    MUSICGEN_METRICS_HOST=0.0.0.0 \
    MUSICGEN_METRICS_PORT=9464 \
    HF_HOME=/data/huggingface
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin musicgen \
    && install --directory --owner=10001 --group=10001 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/weights /opt/weights
WORKDIR /opt/app
USER 10001:10001
VOLUME /data
EXPOSE 9464
# Healthy during the load of the model; unhealthy after a fault of the device.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "handlers.cli", "serve", "worker"]
