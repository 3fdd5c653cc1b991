# One image for the pipeline, the MLflow server and the scoring service.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    CANDOR_HOME=/var/lib/candor MLFLOW_DISABLE_TELEMETRY=true GX_ANALYTICS_ENABLED=false

WORKDIR /app
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY feature_repo feature_repo
COPY validation validation
COPY training training
COPY monitoring monitoring
COPY services services
RUN pip install --no-build-isolation --no-deps -e . \
    && useradd --system --home-dir /var/lib/candor --create-home candor \
    && install -d -o candor -g candor /var/lib/candor /var/lib/mlflow
# SageMaker starts a container with the one word `serve`.
RUN printf '#!/bin/sh\nexec candor serve --host 0.0.0.0 --port "${SAGEMAKER_BIND_TO_PORT:-8080}" "$@"\n' > /usr/local/bin/serve \
    && chmod 755 /usr/local/bin/serve
USER candor
VOLUME /var/lib/candor
EXPOSE 8000 8080

HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
CMD ["candor", "serve", "--host", "0.0.0.0", "--port", "8000"]
