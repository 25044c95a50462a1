# The service with the released bundle baked in: no torch, no MLflow.
#   docker build -t synspect .                                   CPU, or a CUDA that the host mounts
#   docker build -t synspect:cuda --build-arg EXTRAS=serve,cuda .   CUDA and cuDNN inside
#   docker run -p 3000:3000 -e SYNSPECT_TOKEN_SHA256=... synspect
# hadolint global ignore=DL3013
FROM python:3.11-slim-bookworm AS build
ARG EXTRAS=serve
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/synspect
COPY pyproject.toml constraints.txt README.md ./
COPY spect spect
COPY cohort cohort
COPY registry registry
COPY training training
COPY serving serving
COPY synspect synspect
RUN /opt/synspect/bin/pip install --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.11-slim-bookworm AS service
LABEL org.opencontainers.image.title="synspect" \
      org.opencontainers.image.description="Synthetic brain SPECT slices; research use only, never for diagnosis"
RUN useradd --create-home --uid 10001 synspect
COPY --from=build /opt/synspect /opt/synspect
COPY models/reference /opt/models/reference
ENV PATH=/opt/synspect/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SYNSPECT_HOME=/home/synspect/.synspect \
    SYNSPECT_BUNDLE_DIR=/opt/models/reference \
    BENTOML_HOME=/home/synspect/bentoml \
    BENTOML_DO_NOT_TRACK=true
USER 10001
WORKDIR /home/synspect
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
CMD ["synspect", "serve", "--host", "0.0.0.0", "--port", "3000"]
