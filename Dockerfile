# One image for coordinators, edge nodes and simulated agents. Exactly the versions of requirements.lock; not root; nothing to build at run time:
# coordinators run the core that the first stage has compiled.
#   docker build -t zonelock .        docker run --rm -p 127.0.0.1:7600:7600 -p 127.0.0.1:7680:7680 zonelock
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml requirements.lock README.md LICENSE ./
# The lock constrains: what only tests need stays out of the image. Dependencies first, so that a change of code keeps this layer.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --constraint requirements.lock hatchling mypy setuptools \
 && python -m venv /opt/zonelock \
 && /opt/build/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /src/runtime.txt \
 && /opt/zonelock/bin/pip install --constraint requirements.lock --requirement /src/runtime.txt
COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/zonelock/bin/pip install --no-deps /wheels/*.whl
# Compiled by a Python that has mypy, for the one that has only what runs; which then must find it fit.
RUN PYTHONPATH=/opt/zonelock/lib/python3.11/site-packages /opt/build/bin/python -m coordinator.compiling \
 && ZONELOCK_CORE=compiled /opt/zonelock/bin/python -c "import coordinator.core.machine"

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="zonelock" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --home-dir /var/lib/zonelock --shell /usr/sbin/nologin zonelock \
 && install --directory --owner zonelock --group zonelock --mode 0750 /var/lib/zonelock
COPY --from=build /opt/zonelock /opt/zonelock
ENV PATH=/opt/zonelock/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER zonelock
WORKDIR /var/lib/zonelock
VOLUME /var/lib/zonelock
EXPOSE 7600 7680
# Alive, whether it leads or stands by: a standby is healthy.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7680/healthz', timeout=2)"]
ENTRYPOINT ["zonelock"]
CMD ["serve", "--listen", "0.0.0.0:7600", "--web", "0.0.0.0:7680", "--store", "sqlite:/var/lib/zonelock/ledger.sqlite", "--data-dir", "/var/lib/zonelock"]
