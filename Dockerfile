# syntax=docker/dockerfile:1
# docs/docker.md explains it. TORCH=cpu is the small image; TORCH=cu128 computes on NVIDIA GPUs.
FROM python:3.11-slim-bookworm AS build
ARG TORCH=cpu
# Further extras, such as "export,timm".
ARG EXTRAS=tensorboard
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt ./
# torch first: it is the largest layer, and changes least. PyTorch's own index has both builds, with its CUDA libraries.
RUN pip install --constraint constraints.txt --index-url "https://download.pytorch.org/whl/${TORCH}" torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY src src
RUN pip install --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="simclr-med" org.opencontainers.image.licenses="MIT"
# A fixed number, so that a mounted folder can be given to it; --user chooses another one.
RUN useradd --uid 1000 --create-home simclr
COPY --from=build /opt/venv /opt/venv
# Any user may write the caches, also one that --user names.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/home/simclr \
    MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache \
    SIMCLR_MED_DATA=/data SIMCLR_MED_RUNS=/work/runs
RUN install -d -o simclr -g simclr /work /data
USER simclr
WORKDIR /work
ENTRYPOINT ["simclr-med"]
CMD ["--help"]
