# Image of the model server, for SageMaker, Vertex AI, Cloud Run and any container service.
#     docker build -f infra/docker/model.Dockerfile --build-arg BASE=python@sha256:... -t OWNER/musicgen-model .
# torch includes CUDA, so the machine needs only NVIDIA's driver and container toolkit. On a machine
# without a GPU the same image runs on the processor, with the native step.
#
# SageMaker runs `docker run IMAGE serve`, and expects root: add --build-arg RUN_AS=0:0 there.
#
# --build-arg MODEL=small puts its weights into the image as a packed file; a server then starts
# without a download and without a conversion. All except `demo` are Meta's, licensed CC-BY-NC-4.0,
# no commercial use, and so is an image with them: its label needs
# --build-arg LICENSES='Apache-2.0 AND CC-BY-NC-4.0'. With MODEL=none, MUSICGEN_MODEL names a packed
# file at an https or an s3:// address. --build-arg FORM=native-int8 packs for processors.
ARG BASE
FROM ${BASE} AS build

ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HOME=/tmp/huggingface
# Only this stage has a compiler.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
# For an image without CUDA: --build-arg TORCH=torch-cpu-requirements.txt
# --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG TORCH=torch-requirements.txt
ARG PIP_EXTRA_INDEX_URL
COPY infra/docker/worker-requirements.txt infra/docker/torch-requirements.txt \
    infra/docker/torch-cpu-requirements.txt /tmp/
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --requirement /tmp/worker-requirements.txt \
    && /opt/venv/bin/pip install --requirement "/tmp/${TORCH}"
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY musicgen musicgen
COPY musicgen_client musicgen_client
COPY handlers handlers
COPY infra/coldstart infra/coldstart
# The library is optional for pip, so its presence is checked. It chooses the instructions at run
# time, so the image runs on other processors too.
RUN /opt/venv/bin/pip install --no-deps . \
    && if [ "$(uname -m)" = x86_64 ]; then \
         ls /opt/venv/lib/python3*/site-packages/musicgen/model/native/_step*.so; \
       fi
RUN /opt/venv/bin/python -m infra.coldstart.diet --strip
ARG MODEL=demo
ARG FORM=plain-bfloat16
ARG LICENSES=Apache-2.0
RUN case "${MODEL}:${LICENSES}" in demo:*|none:*|*:*CC-BY-NC-4.0*) ;; *:Apache-2.0) \
      echo "The label must name the licence of the weights. For Meta's add --build-arg" \
        "LICENSES='Apache-2.0 AND CC-BY-NC-4.0'." >&2; exit 1;; esac
RUN mkdir /opt/weights \
    && if [ "${MODEL}" != none ]; then \
         /opt/venv/bin/musicgen pack "${MODEL}" --form "${FORM}" -o /opt/weights/model.packed; \
       fi

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG LICENSES=Apache-2.0
LABEL org.opencontainers.image.title="MusicGen model server" \
      org.opencontainers.image.licenses="${LICENSES}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MUSICGEN_DATA_DIR=/data \
    MUSICGEN_MODEL=/opt/weights/model.packed \
    HF_HOME=/data/huggingface
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin musicgen \
    && install --directory --owner=10001 --group=10001 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/weights /opt/weights
COPY --chmod=755 infra/docker/serve.sh /usr/local/bin/serve
WORKDIR /opt/app
ARG RUN_AS=10001:10001
USER ${RUN_AS}
EXPOSE 8080
# Unhealthy until the model is loaded, and after the loss of the device.
HEALTHCHECK --interval=15s --timeout=5s --start-period=480s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ping', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["musicgen", "serve", "model", "--host", "0.0.0.0", "--port", "8080"]
