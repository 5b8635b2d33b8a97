# Image of a GPU worker of the job API.
#     docker build -f infra/docker/worker.Dockerfile --build-arg BASE=python@sha256:... -t OWNER/musicgen-worker .
# torch includes CUDA, so the machine needs only NVIDIA's driver and container toolkit. On a machine
# without a GPU the same image runs on the processor.
#
# --build-arg MODEL=small puts its weights into the image as a packed file; a worker then starts
# without a download and without a conversion. All except `demo` are Meta's, licensed CC-BY-NC-4.0,
# no commercial use, and so is an image with them. With MODEL=none, MUSICGEN_MODEL names a packed
# file on a volume.
ARG BASE
FROM ${BASE} AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HOME=/tmp/huggingface
COPY infra/docker/api-requirements.txt infra/docker/worker-requirements.txt /tmp/
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --requirement /tmp/worker-requirements.txt
COPY musicgen /opt/app/musicgen
COPY handlers /opt/app/handlers
RUN /opt/venv/bin/python -m compileall -q /opt/app
ARG MODEL=demo
ARG FORM=plain-bfloat16
WORKDIR /opt/app
RUN mkdir /opt/weights \
    && if [ "${MODEL}" != none ]; then \
         /opt/venv/bin/python -m handlers.cli pack "${MODEL}" --form "${FORM}" -o /opt/weights/model.packed; \
       fi

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="MusicGen worker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/app \
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
COPY --from=build /opt/app /opt/app
COPY --from=build /opt/weights /opt/weights
WORKDIR /opt/app
USER 10001:10001
VOLUME /data
EXPOSE 9464
# Healthy during the load of the model; unhealthy after the loss of the device.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "handlers.cli", "serve", "worker"]
