# docker build -t gaussdb-notifier .
# docker run --read-only --tmpfs /tmp -v notifier-data:/data -v ./notifier.yaml:/etc/notifier/notifier.yaml:ro gaussdb-notifier

# Name the base by digest for a build that can be repeated: --build-arg BASE=python:3.13-slim@sha256:...
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && python -m venv /opt/notifier \
    && /opt/notifier/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt -r requirements/extras.txt
COPY . .
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/notifier/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl \
    && /opt/notifier/bin/pip uninstall --yes pip

FROM ${BASE}
COPY --from=build /opt/notifier /opt/notifier
ENV PATH=/opt/notifier/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NOTIFIER_CONFIG=/etc/notifier/notifier.yaml
# For the database: store.url: sqlite:////data/notifier.db. A relative path would start at the configuration's folder.
WORKDIR /data
RUN chown 65532:65532 /data
VOLUME /data
USER 65532:65532
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["notifier", "health"]
ENTRYPOINT ["notifier"]
CMD ["run"]
