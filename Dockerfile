# docs/image.md says how to build and run it, and why it is made so. Another base, by digest say:
#   docker build --build-arg BASE=debian:trixie-slim@sha256:... .
ARG BASE=debian:trixie-slim


FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN set -eu; \
    apt-get update -qq; \
    apt-get install -y -qq --no-install-recommends ca-certificates python3-venv

# /build makes the wheel, /opt/ecmp-exporter is what runs; the second has no pip. The secrets are for those whose
# package index needs a configuration of its own; without them pip asks PyPI.
COPY requirements.lock requirements-build.lock /src/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    set -eu; \
    python3 -m venv /build; \
    /build/bin/pip install -q --require-hashes --only-binary :all: -r /src/requirements-build.lock; \
    python3 -m venv --without-pip /opt/ecmp-exporter; \
    /build/bin/pip --python /opt/ecmp-exporter/bin/python3 install -q --no-compile --require-hashes --only-binary :all: \
        -r /src/requirements.lock

COPY pyproject.toml README.md LICENSE /src/
COPY probes /src/probes
COPY routers /src/routers
COPY exporter /src/exporter
COPY lab /src/lab
# The root file system may be read-only, and layers lose the times that ordinary bytecode is checked by.
RUN set -eu; \
    /build/bin/pip wheel -q --no-index --no-deps --no-build-isolation --wheel-dir /wheel /src; \
    /build/bin/pip --python /opt/ecmp-exporter/bin/python3 install -q --no-compile --no-index --no-deps /wheel/*.whl; \
    find /opt/ecmp-exporter -name direct_url.json -delete; \
    PYTHONHASHSEED=0 python3 -m compileall -q -f --invalidation-mode unchecked-hash /opt/ecmp-exporter


FROM ${BASE}
# A copy of setpriv carries the only capability; image/ecmp-exporter.sh says what for. Nothing else may gain rights:
# the setuid bits of the base go.
RUN set -eu; \
    apt-get update -qq; \
    apt-get install -y -qq --no-install-recommends ca-certificates python3 libcap2-bin; \
    install -D /usr/bin/setpriv /usr/local/lib/ecmp-exporter/setpriv; \
    setcap cap_net_raw+p /usr/local/lib/ecmp-exporter/setpriv; \
    apt-get purge -y -qq --auto-remove libcap2-bin; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/cache/ldconfig/* /var/log/*; \
    useradd --system --user-group --uid 65532 --home-dir /etc/ecmp-exporter --no-create-home --shell /usr/sbin/nologin \
        --no-log-init ecmp-exporter; \
    rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-; \
    install -d /etc/ecmp-exporter
COPY --from=build /opt/ecmp-exporter /opt/ecmp-exporter
COPY --chmod=0755 image/ecmp-exporter.sh /usr/local/bin/ecmp-exporter
COPY --chmod=0644 image/healthcheck.py /usr/local/lib/ecmp-exporter/healthcheck.py

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HEALTH_URL=http://127.0.0.1:10179/-/healthy
# ecmp-exporter.yml is looked for in the working directory, by every command.
WORKDIR /etc/ecmp-exporter
USER 65532:65532
EXPOSE 10179
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/opt/ecmp-exporter/bin/python3", "-I", "/usr/local/lib/ecmp-exporter/healthcheck.py"]
ENTRYPOINT ["ecmp-exporter"]

# Last, because it changes with each commit.
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ecmp-exporter" \
      org.opencontainers.image.description="Synthetic probes through every ECMP path of a BGP-announced service, judged per node, as Prometheus metrics" \
      org.opencontainers.image.url="https://github.com/ecmp-exporter/ecmp-exporter" \
      org.opencontainers.image.source="https://github.com/ecmp-exporter/ecmp-exporter" \
      org.opencontainers.image.documentation="https://github.com/ecmp-exporter/ecmp-exporter/blob/main/docs/image.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
