# syntax=docker/dockerfile:1
# Debian's slim image with Debian's own Python, built with profile-guided and link-time optimisation:
# what the tests run on. tests/system builds this very file without a container engine and runs it under runc.
FROM debian:bookworm-slim AS build

# Debian keeps one version of a package per release, so a pinned one would be gone with its next security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/*

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# The environment is made at the path where it will run. Only hashed, pre-built wheels come in.
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv tools \
    && tools/bin/pip install --only-binary :all: --require-hashes --requirement requirements-build.lock \
    && python3 -m venv --without-pip /opt/sidegate \
    && tools/bin/pip --python /opt/sidegate/bin/python install \
        --only-binary :all: --require-hashes --requirement requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN tools/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
    && tools/bin/pip --python /opt/sidegate/bin/python install --no-index --no-deps wheels/*.whl


FROM debian:bookworm-slim

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sidegate" \
      org.opencontainers.image.description="OAuth 2.0 token issuer for machines and enforcing reverse proxy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The data directory is the only one that is written; the configuration may be mounted read-only. There is no
# VOLUME: containerd would mount each of them even below a mount of the pod, and a read-only one has no room.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 sidegate \
    && useradd --uid 10001 --gid sidegate --no-create-home --home-dir /var/lib/sidegate \
        --shell /usr/sbin/nologin sidegate \
    && install -d -m 0700 -o sidegate -g sidegate /var/lib/sidegate
COPY --from=build /opt/sidegate /opt/sidegate
# The starter that `sidegate init` writes, without the schemas for editors; mount your own over it.
COPY gateway/starter /etc/sidegate

ENV PATH=/opt/sidegate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SIDEGATE_ADDRESS=0.0.0.0:8080 \
    SIDEGATE_CONFIG=/etc/sidegate/gateway.yaml \
    SIDEGATE_DATA=/var/lib/sidegate

USER 10001:10001
WORKDIR /etc/sidegate
EXPOSE 8080 9090

# Each check starts an interpreter; orchestrators with HTTP probes ask /readyz and /healthz instead.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 \
    CMD ["sidegate", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sidegate"]
CMD ["run"]
