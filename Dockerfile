# zssr_jax for the hosts of a cluster: see docs/cluster.md.
#
#   docker build -t zssr_jax .                          for CPUs
#   docker build -t zssr_jax:cuda --build-arg JAX=cuda12 .
#
# JAX names an extra of the package jax: cpu (none needed), cuda12, cuda13, tpu.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG JAX=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /opt/zssr_jax
# The versions first: they change less often than the package.
COPY requirements.lock ./
# With Ray's dashboard, by which KubeRay submits jobs.
RUN pip install -c requirements.lock "jax[${JAX}]" "ray[default]"

COPY pyproject.toml setup.py README.md LICENSE ./
COPY zssr_jax zssr_jax
COPY configs configs
COPY bin bin
COPY examples examples
RUN pip install -c requirements.lock '.[cluster,heif]'

# Compiled programs are kept here; mount a volume to share them among hosts of
# one kind.
ENV ZSSR_JAX_CACHE=/var/cache/zssr_jax
RUN useradd --create-home zssr && mkdir -p "$ZSSR_JAX_CACHE" \
  && chown zssr "$ZSSR_JAX_CACHE"
USER zssr
WORKDIR /work
ENTRYPOINT []
CMD ["zssr", "--help"]
