# All images of the product from one file (`make images`):
#   --build-arg SERVICE=storage|inference|uncertainty|merging|scheduler|cli    a service, or the command
#   --target triton        Triton on CPUs       --target triton-gpu    on the vendor's image
#   --target models        the networks of models/    --target evaluation    PostgreSQL and S3 on one node
# Each holds only what its lock in images/locks says, and runs as a user of its own on a read-only root.
# Who wants the same base again names it by its digest: --build-arg BASE=debian:bookworm-slim@sha256:...
ARG BASE=debian:bookworm-slim
# NVIDIA's image under a name of yours, for triton-gpu alone: nobody else publishes it under this one.
ARG TRITON_BASE=tritonserver:25.08-py3

FROM ${BASE} AS python
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Debian's packages are not pinned: they follow its security updates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3.11 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin atlas
COPY images/atlas-start images/atlas-warm /usr/local/bin/
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/atlas NUMBA_CACHE_DIR=/tmp/numba NUMBA_CPU_NAME=x86-64-v3
ENTRYPOINT ["atlas-start"]

FROM python AS pip
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3.11-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3.11 -m venv /opt/venv

# The code of one service, and what says to Python and to a bill of materials which version it is.
FROM pip AS build
ARG SERVICE=storage
COPY images/locks/${SERVICE}.txt /tmp/lock.txt
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/lock.txt
COPY . /src
WORKDIR /src
RUN images/copy-code "${SERVICE}" /opt/atlas \
    && pip uninstall -y -q pip setuptools

FROM python AS service
ARG SERVICE=storage
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="abdomenatlas-${SERVICE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.description="AbdomenAtlas: ${SERVICE}"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/atlas /opt/atlas
# Kernels are compiled here, for any processor since 2013, so that a new pod does not spend its first minute on it.
RUN NUMBA_CACHE_DIR=/opt/numba atlas-warm "${SERVICE}"
ENV ATLAS_SERVICE=${SERVICE}
USER 10001:10001
CMD ["sh", "-c", "exec python -m \"services.$ATLAS_SERVICE\""]

# ---- The code that runs inside Triton
FROM pip AS serving-code
COPY . /src
WORKDIR /src
RUN images/copy-code serving /opt/atlas

# ---- Triton on CPUs: the server from the vendor's wheel, laid out as in the vendor's image
FROM pip AS triton-build
COPY images/install-torch images/lay-out-triton /usr/local/bin/
COPY images/locks/triton.txt images/locks/tritonserver.txt /tmp/
# Where the build of torch without CUDA is, which PyPI does not have: PyTorch's own index of CPU builds, or a mirror of it.
ARG TORCH_INDEX=
# The networks of nnU-Net are published as source alone. torch needs setuptools, which stays.
RUN install-torch /tmp/triton.txt "${TORCH_INDEX}" \
    && pip install --no-cache-dir --require-hashes --only-binary :all: --no-binary dynamic-network-architectures -r /tmp/triton.txt \
    && pip install --no-cache-dir --require-hashes --no-deps -r /tmp/tritonserver.txt \
    && lay-out-triton /opt/venv /opt/tritonserver \
    && pip uninstall -y -q pip
# Python inside Triton looks at no PYTHONPATH.
RUN echo /opt/atlas > /opt/venv/lib/python3.11/site-packages/atlas.pth

FROM python AS triton
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="abdomenatlas-triton" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.description="AbdomenAtlas: Triton on CPUs"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libpython3.11 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=triton-build /opt/venv /opt/venv
COPY --from=serving-code /opt/atlas /opt/atlas
COPY --from=triton-build /opt/tritonserver /opt/tritonserver
ENV PATH=/opt/tritonserver/bin:$PATH LD_LIBRARY_PATH=/opt/tritonserver/lib:/usr/lib/x86_64-linux-gnu
USER 10001:10001
CMD ["tritonserver", "--help"]

# ---- Triton on GPUs: the vendor's image with torch and MONAI added; its Python is not ours
FROM ${TRITON_BASE} AS triton-gpu
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="abdomenatlas-triton-gpu" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.description="AbdomenAtlas: Triton on GPUs"
COPY images/locks/triton-gpu.txt /tmp/lock.txt
RUN pip install --no-cache-dir --break-system-packages --require-hashes --only-binary :all: \
        --no-binary dynamic-network-architectures -r /tmp/lock.txt \
    && rm /tmp/lock.txt \
    && echo /opt/atlas > "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/atlas.pth"
COPY --from=serving-code /opt/atlas /opt/atlas
ENV PYTHONPATH=/opt/atlas PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR=/tmp/numba
USER 10001:10001

# ---- The networks; the chart's init container takes them from here
FROM ${BASE} AS models
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="abdomenatlas-models" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.description="AbdomenAtlas: demonstration networks, not for clinical use"
COPY models /models
USER 10001:10001

# ---- PostgreSQL and Ceph RGW on one node, for an evaluation and nothing else
FROM ${BASE} AS evaluation
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="abdomenatlas-evaluation" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.description="PostgreSQL and S3 on one node, for an evaluation; not for production"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ceph-common ceph-mon ceph-osd postgresql radosgw \
    && rm -rf /var/lib/apt/lists/* /var/lib/postgresql /etc/postgresql \
    && useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin atlas
COPY images/evaluation /usr/local/bin/evaluation
ENV PATH=/usr/local/bin/evaluation:$PATH
USER 10001:10001

# What is built when no target is named.
FROM service
