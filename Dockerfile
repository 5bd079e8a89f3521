# One image, three programs: python -m service, python -m consumer, python -m autoscaler.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim

# What is here and not in /app is not in the image: pip, setuptools, caches.
FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
RUN python -m venv --without-pip .venv
COPY requirements.lock ./
# The Kubernetes client has a class and a page of methods for each kind of object, twice. The controller asks for JSON by path and
# needs none of them: 110 of its 126 MB. What is left loads them only when they are named.
RUN python -m pip --python .venv/bin/python install --no-deps --no-compile --require-hashes --requirement requirements.lock \
    && find .venv/lib/python3.*/site-packages/kubernetes \( -path '*/client/models/*.py' -o -path '*/client/api/*.py' \) \
      -not -name __init__.py -delete
COPY pyproject.toml README.md ./
COPY app app
COPY core core
COPY adapters adapters
COPY telemetry telemetry
COPY service service
COPY consumer consumer
COPY autoscaler autoscaler
COPY simulator simulator
COPY cli cli
RUN python -m pip --python .venv/bin/python install --no-deps --no-compile --no-build-isolation --config-settings editable_mode=compat --editable . \
    && python -m pip --python .venv/bin/python uninstall --quiet --yes setuptools \
    && rm -rf ./*.egg-info build pyproject.toml README.md requirements.lock .venv/include \
      .venv/lib/python3.*/site-packages/setuptools* .venv/lib/python3.*/site-packages/distutils-precedence.pth \
    && find .venv/bin -type f -not -name headrace -delete
# Nobody writes here, so no start need ask whether a package's source is newer than its bytecode. Of our own it asks: an image made
# from this one may have another handler in the place of one. Everybody may read, also where files came with a umask that lets nobody.
RUN .venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash .venv \
    && .venv/bin/python -m compileall -q -j 0 --invalidation-mode checked-hash -x '^\./\.venv/' . \
    && chmod -R a+rX /app

FROM ${BASE_IMAGE}
# The base's own pip is of no use without a writable root, and every scanner reports it.
RUN rm -rf /usr/local/lib/python3.*/site-packages/pip* /usr/local/lib/python3.*/ensurepip /usr/local/bin/pip* \
      /usr/lib/python3/dist-packages/pip* /usr/lib/python3.*/ensurepip /usr/bin/pip*
# The official image comes without the standard library's bytecode, which each start would make again, for itself.
RUN python -m compileall -q -j 0 -x '/(test|idlelib|turtledemo|lib2to3|pydoc_data|site-packages|dist-packages)/' \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
# By number, so that runAsNonRoot can be checked; any other number does as well. Group 0 as OpenShift gives it.
USER 10001:0
HEALTHCHECK NONE
EXPOSE 8080 8081 8082
# Each program has signal handlers of its own and starts no other process: it needs no init before it.
CMD ["python", "-m", "service"]
# Last, since they change with each commit.
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="headrace" \
      org.opencontainers.image.description="Gateway, consumers and controller of an autoscaling asynchronous service" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
