# The container that runs one pipeline and ends. Docker and podman build it from this folder alone, and
# only what .dockerignore lets in can get into a layer.

FROM python:3.14-slim AS build
# data: with pandas, pyarrow and duckdb; server: those and the API; run: the library alone.
ARG REQUIREMENTS=data
ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# /build holds the tools and stays behind; /venv goes into the image, and holds not even pip.
COPY requirements/tools.txt /src/requirements/
RUN python -m venv /build && python -m venv --without-pip /venv && mkdir /data && \
    /build/bin/pip install --quiet --require-hashes -r /src/requirements/tools.txt
# Pins change less often than code, so they have a layer of their own.
COPY requirements/${REQUIREMENTS}.txt /src/requirements/
RUN /build/bin/pip --python /venv/bin/python install --quiet --require-hashes \
      -r /src/requirements/${REQUIREMENTS}.txt && \
    find /venv -type d -name tests -prune -exec rm -rf {} + && \
    python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv
COPY pyproject.toml README.md LICENSE /src/
COPY engine /src/engine
COPY handlers /src/handlers
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /dist /src && \
    /build/bin/pip --python /venv/bin/python install --quiet --no-deps --no-index /dist/*.whl && \
    python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv

FROM python:3.14-slim
# All byte code is there, and the root may be read-only. /tmp is the one place that must be writable.
ENV PATH=/venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /venv /venv
# Files to read are mounted here.
COPY --from=build --chown=10001:10001 /data /data
WORKDIR /data
# A number, so that a platform can see that it is not root.
USER 10001:10001
ENTRYPOINT ["python", "-m", "cableway"]
