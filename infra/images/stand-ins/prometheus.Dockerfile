# Stand-in for quay.io/prometheus/prometheus, for machines without a registry: Debian's Prometheus
# with the user and the folders of that image.
ARG BASE
FROM ${BASE}

RUN apt-get update && apt-get install --yes --no-install-recommends prometheus wget \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=65534 --group=65534 /prometheus
VOLUME /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
