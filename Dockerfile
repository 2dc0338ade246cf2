# camsearch: `worker` fills galleries on CPUs, `worker-gpu` on NVIDIA GPUs, and `reranker` is the
# proxy that searches them by image.
#
#   docker build --target worker --tag camsearch-worker:0.1.0 .
#
# PyTorch's wheel for Linux on the default index includes CUDA, about 5 GB that a CPU does not use.
# PyTorch has an index of wheels without it; name that index to make the image small:
#
#   docker build --target worker --build-arg PIP_INDEX_ARGS="--extra-index-url ADDRESS" …
#
# Its versions end in +cpu, take precedence over those without, and fit constraints.txt.

ARG PYTHON=3.11.15-slim-trixie

FROM python:${PYTHON} AS build
# Additional packages, such as "s3fs" for images or maps in s3://.
ARG EXTRAS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/camsearch/bin:$PATH
RUN python -m venv /opt/camsearch
WORKDIR /build
# Dependencies come first, so that a change of camsearch reinstalls only camsearch.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && printf '%s\n' ${EXTRAS} >> requirements.txt

FROM build AS wheel
COPY README.md LICENSE ./
COPY descriptors descriptors
COPY es_mappings es_mappings
COPY galleries galleries
COPY indexer indexer
COPY reranker reranker
COPY evaluation evaluation
COPY camsearch camsearch
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM build AS installed
ARG PIP_INDEX_ARGS=""
RUN pip install ${PIP_INDEX_ARGS} --constraint constraints.txt --requirement requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps /wheels/*.whl

FROM build AS installed-gpu
RUN pip install --constraint constraints.txt --requirement requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps /wheels/*.whl

FROM python:${PYTHON} AS runtime
ARG REVISION=""
LABEL org.opencontainers.image.title="camsearch worker" \
      org.opencontainers.image.description="Indexes images into a camsearch gallery in Elasticsearch" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# A new volume mounted at /maps gets the owner of this folder.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin camsearch \
    && install --directory --owner camsearch --group camsearch /maps
ENV PATH=/opt/camsearch/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
CMD ["camsearch", "worker"]

FROM runtime AS worker
COPY --from=installed /opt/camsearch /opt/camsearch

FROM worker AS reranker
LABEL org.opencontainers.image.title="camsearch reranker" \
      org.opencontainers.image.description="A proxy that adds image search to Elasticsearch"
# 127.0.0.1 cannot be reached from outside a container.
ENV CAMSEARCH_SERVE_HOST=0.0.0.0
EXPOSE 9280
CMD ["camsearch", "serve"]

FROM runtime AS worker-gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=installed-gpu /opt/camsearch /opt/camsearch
