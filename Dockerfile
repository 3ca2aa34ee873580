# Three images from one file, which share all their layers but the last: minikube (the registry, unless told otherwise),
# product and order.
#
#   docker build --target minikube --tag minikube .
#   docker build --target product  --tag product  .
#   docker build --target order    --tag order    .
#
# BASE is any image with Python 3.11 or newer, its venv module and libstdc++.
# Where pip reaches no package index: put the wheels of requirements.lock into wheels/, --build-arg PIP_NO_INDEX=1.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG PIP_NO_INDEX=""
ARG PIP_INDEX_URL=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.lock wheels* wheels/
RUN python3 -m venv /opt/minikube \
    && /opt/minikube/bin/pip install --require-hashes --find-links wheels -r wheels/requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY minikube minikube
COPY tui tui
# What runs is kept, what builds is not; pip's own check tells when the list takes too much.
RUN cd /opt/minikube && bin/pip install --no-deps --no-build-isolation /build \
    && bin/pip uninstall -q -y hatchling packaging pluggy setuptools tomlkit trove-classifiers \
    && bin/pip check \
    && bin/pip uninstall -q -y pip \
    && find . -type d \( -name tests -o -name _tests -o -name test \) -prune -exec rm -rf {} +

FROM ${BASE} AS minikube
COPY --from=build /opt/minikube /opt/minikube
ENV PATH=/opt/minikube/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /srv
USER 10001:10001
EXPOSE 5555
# Beyond loopback the registry wants MINIKUBE_REGISTRY_TOKEN and TLS; docs/operations.md shows how the containers find each other.
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s --retries=2 CMD \
    ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 5555), 2)"]
ENTRYPOINT ["minikube"]
CMD ["registry"]

FROM minikube AS service
COPY services services
ENV HOST=0.0.0.0
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s --retries=2 CMD \
    ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health')"]
ENTRYPOINT []

FROM service AS product
ENV SERVICE_NAME=product PORT=7070
EXPOSE 7070
CMD ["python", "-m", "services.product"]

FROM service AS order
ENV SERVICE_NAME=order PORT=6060
EXPOSE 6060
CMD ["python", "-m", "services.order"]
