# One image for every part of the service; the command says which: api, worker, reconciler, deliverer,
# migrate.
# On x86-64 the usual build of PyTorch brings CUDA and runs on the CPU as well; pass an index of CPU
# builds as PIP_EXTRA_INDEX_URL for a much smaller image.
FROM python:3.11-slim

ARG PIP_EXTRA_INDEX_URL=""
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /source
COPY constraints.txt ./
RUN pip install -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY worker worker
COPY migrations migrations
RUN pip install -c constraints.txt . && rm -r /source/*

RUN useradd --uid 10001 --create-home stillhouse \
    && install -d -o stillhouse -g stillhouse /data /data/pepper /data/work
USER stillhouse
WORKDIR /data
ENV STILLHOUSE_PEPPER_FILE=/data/pepper/pepper STILLHOUSE_WORK_FOLDER=/data/work
ENTRYPOINT ["stillhouse"]
