# The online service: `docker build -f images/api.Dockerfile -t swath-api .`, or `make image`.
#
# No torch, no compiler, no package manager, no setuid program; one process, which is user 65532. The root file system
# may be read-only: what is written goes to the volume SWATH_HOME, and there only. docs/container.md has the numbers.
#
# BASE: name a digest where builds must repeat: --build-arg BASE=python:3.11-slim-bookworm@sha256:...
# A private package index: --secret id=pip,src=$HOME/.config/pip/pip.conf
ARG BASE=python:3.11-slim-bookworm

# --- packages: what the service imports, slimmed -------------------------------------------------------------------
FROM ${BASE} AS packages
RUN apt-get update && apt-get install -y -q --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_CONSTRAINT=/src/constraints.txt
RUN python -m venv --without-pip /opt/swath
# The project itself comes later, so that a change of code does not install the world again.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir services flows && touch services/__init__.py flows/__init__.py
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip --python /opt/swath/bin/python install -q --no-compile --only-binary :all: --no-binary swath '.[api]' \
    && pip --python /opt/swath/bin/python uninstall -q -y swath
COPY images/slim_packages.sh images/check_loads.py /slim/
RUN sh /slim/slim_packages.sh /opt/swath/lib/python3.11/site-packages \
    && python /slim/check_loads.py /opt/swath/lib \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/swath/lib
# Debug information is two thirds of some builds of the interpreter.
RUN mkdir -p /python/lib && cp -a /usr/local/lib/libpython3.11.so.1.0 /python/lib/ \
    && mkdir /python/lib/python3.11 && cp -a /usr/local/lib/python3.11/lib-dynload /python/lib/python3.11/ \
    && rm -f /python/lib/python3.11/lib-dynload/_tkinter.* /python/lib/python3.11/lib-dynload/nis.* \
    && find /python -name '*.so*' -exec strip --strip-unneeded {} + && python /slim/check_loads.py /python

# --- project: our own code and the models it ships ------------------------------------------------------------------
FROM packages AS project
ARG REVISION=unknown
# There is no git in the image: the version itself says which code it is, as a run's manifest will.
RUN if [ "${REVISION:-unknown}" != unknown ]; then \
        label="g$(printf %.12s "$REVISION")"; case "$REVISION" in *.dirty) label="$label.dirty";; esac; \
        sed -i "s/^version = \"\(.*\)\"/version = \"\1+$label\"/" pyproject.toml; fi
COPY services services
COPY flows flows
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip --python /opt/swath/bin/python install -q --no-compile --no-deps --no-warn-script-location --root /stage . \
    && python -m compileall -q --invalidation-mode unchecked-hash -s /stage /stage/opt/swath/lib

# --- sbom: what is in it, by name and version ------------------------------------------------------------------------
FROM ${BASE} AS sbom
WORKDIR /src
COPY constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv /cyclonedx && /cyclonedx/bin/pip install -q -c constraints.txt cyclonedx-bom
COPY images/complete_sbom.py ./
COPY --from=packages /opt/swath /opt/swath
COPY --from=project /stage/opt/swath /opt/swath
COPY --from=project /src/pyproject.toml ./
RUN /cyclonedx/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
        --of JSON -o /swath-api.cdx.json /opt/swath/bin/python \
    && python complete_sbom.py /swath-api.cdx.json

# --- system: Debian and CPython, without what a service never calls ----------------------------------------------
FROM ${BASE} AS system
COPY --from=packages /python /usr/local
COPY images/slim_system.sh /slim/
RUN sh /slim/slim_system.sh && rm -r /slim \
    && echo 'swath:x:65532:65532:swath:/var/lib/swath:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'swath:x:65532:' >> /etc/group \
    && mkdir -p /var/lib/swath && chown 65532:65532 /var/lib/swath && chmod 750 /var/lib/swath

# --- the image: flattened, so that what was removed is gone ---------------------------------------------------------
FROM scratch
COPY --from=system / /
COPY --from=packages /opt/swath /opt/swath
COPY --from=project /stage/opt/swath /opt/swath
COPY --from=sbom /swath-api.cdx.json /usr/share/sbom/swath-api.cdx.json

# The first line only repeats what the base said. SAFEPATH: the working folder is nowhere to import from.
# OPENBLAS: numpy's matrix products are none of our work, and its idle threads cost memory on large machines.
# MALLOC_ARENA_MAX: one heap for each thread would keep what the busiest of them once had.
ENV PATH=/opt/swath/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 \
    OPENBLAS_NUM_THREADS=1 MALLOC_ARENA_MAX=2 \
    SWATH_HOME=/var/lib/swath SWATH_API_HOST=0.0.0.0 SWATH_API_PORT=8000 SWATH_BACKEND=onnxruntime
# On this address the settings ask for keys: `docker exec NAME swath keys create WHO`.
USER 65532:65532
WORKDIR /var/lib/swath
VOLUME /var/lib/swath
EXPOSE 8000
STOPSIGNAL SIGTERM
# /health/live, by hand: a client library would cost a quarter of a CPU more than the answer does. A port that is no
# number is no setting (an empty one, or what Kubernetes says of a Service called swath-api), so the default stands.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-ISc", "\
import os, socket, sys\n\
port = os.environ.get('SWATH_API_PORT', '').strip()\n\
s = socket.create_connection(('127.0.0.1', int(port) if port.isdecimal() else 8000), 4)\n\
s.sendall(b'GET /health/live HTTP/1.0\\r\\n\\r\\n')\n\
sys.exit(b' 200 ' not in s.recv(64))"]
CMD ["python", "-m", "services.api"]

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="swath-api" \
      org.opencontainers.image.description="Satellite images and scenes in, classes and maps out." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
