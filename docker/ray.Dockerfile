# Trains, searches and serves on a Ray cluster, and trains under torchrun; see docs/docker.md.
#
#   docker build --file docker/ray.Dockerfile --tag boxwright-ray .
#
# For the detectors of transformers: --build-arg EXTRAS=train,hf,tune,ray

FROM python:3.11-slim-bookworm AS build
ARG EXTRAS=train,tune,ray
WORKDIR /source
COPY constraints.txt LICENSE pyproject.toml README.md ./
COPY src src
# The environment gets no pip of its own: nothing is installed into a running cluster.
RUN python -m venv --without-pip /opt/boxwright \
    && python -m pip --python /opt/boxwright/bin/python install --no-cache-dir --constraint constraints.txt ".[$EXTRAS]"

FROM python:3.11-slim-bookworm
# KubeRay asks for health with wget, and may start Ray from a login shell, which forgets PATH.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && echo "PATH=/opt/boxwright/bin:\$PATH" > /etc/profile.d/boxwright.sh \
    && useradd --uid 10001 --create-home boxwright
COPY --from=build /opt/boxwright /opt/boxwright
ENV PATH=/opt/boxwright/bin:$PATH RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/boxwright
# A number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 10001:10001
