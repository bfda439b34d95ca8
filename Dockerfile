# syntax=docker/dockerfile:1
# Debian's slim Python image: CPython there is built with profile-guided and link-time optimisation.
FROM python:3.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# The environment is made at the path where it will run. Only hashed, pre-built wheels come in.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/sidegate \
    && pip --python /opt/sidegate/bin/python install \
        --only-binary :all: --require-hashes --requirement requirements.lock \
    && pip install --only-binary :all: --require-hashes --requirement requirements-build.lock

COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip --python /opt/sidegate/bin/python install --no-index --no-deps wheels/*.whl


FROM python:3.13-slim-bookworm

LABEL org.opencontainers.image.title="Sidegate" \
      org.opencontainers.image.description="OAuth 2.0 token issuer for machines and enforcing reverse proxy" \
      org.opencontainers.image.licenses="Apache-2.0"

ENV PATH=/opt/sidegate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SIDEGATE_ADDRESS=0.0.0.0:8080 \
    SIDEGATE_CONFIG=/etc/sidegate/gateway.yaml

# Keys and state are the only things written; everything else may be mounted read-only.
RUN groupadd --system --gid 10001 sidegate \
    && useradd --system --uid 10001 --gid sidegate --no-create-home --shell /usr/sbin/nologin sidegate \
    && install -d -m 0700 -o sidegate -g sidegate /etc/sidegate/keys /etc/sidegate/state
COPY --from=build /opt/sidegate /opt/sidegate
# The same starter that `sidegate init` writes; mount your own over it.
COPY gateway/starter /etc/sidegate

USER 10001:10001
WORKDIR /etc/sidegate
VOLUME ["/etc/sidegate/keys", "/etc/sidegate/state"]
EXPOSE 8080

HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["sidegate", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sidegate"]
CMD ["run", "-c", "/etc/sidegate/gateway.yaml"]
