# docs/docker.md explains it. DEVICE=cpu is the small image; DEVICE=cuda computes on NVIDIA GPUs.
FROM python:3.11-slim-bookworm AS build
ARG DEVICE=cpu
# Optional packages, separated by commas: see the extras of pyproject.toml.
ARG EXTRAS=tensorboard
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt ./
# torch is the largest layer and changes least. For Linux, PyPI has the CUDA build, and PyTorch's index the CPU build.
RUN case "$DEVICE" in \
        cpu) index=https://download.pytorch.org/whl/cpu ;; \
        cuda) index=https://pypi.org/simple ;; \
        *) echo "DEVICE=$DEVICE: expected cpu or cuda." >&2; exit 1 ;; \
    esac && pip install --constraint constraints.txt --index-url "$index" torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY src src
RUN pip install --constraint constraints.txt ".[$EXTRAS]"

FROM python:3.11-slim-bookworm
# Any user may write here, since `docker run --user` chooses the owner of the results.
RUN useradd --uid 1000 --create-home simclr && install -d -m 1777 /home/simclr /workspace /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH HOME=/home/simclr SIMCLR_MED_DATA=/data SIMCLR_MED_RUNS=/workspace/runs
USER 1000
WORKDIR /workspace
ENTRYPOINT ["simclr-med"]
CMD ["--help"]
