# The image that every node runs in on Kubeflow and Vertex AI: Debian 13, Python 3.13, TFX 1.21.
#
#   make image IMAGE=REGISTRY/bert              the CPU image, tagged with the commit
#   make image IMAGE=REGISTRY/bert TARGET=gpu   with CUDA's libraries, tagged COMMIT-gpu
#
# What is done is in scripts/image_steps.sh, which the Debian 13 lane runs too.

FROM debian:13.1-slim AS build
WORKDIR /opt/bert
# The account that nodes run as can write no compiled modules; without them each start takes 10 s more.
ENV UV_COMPILE_BYTECODE=1
COPY scripts/image_steps.sh scripts/
RUN scripts/image_steps.sh install build
# The environment changes seldom: only what it is made from comes before it.
COPY scripts/make_env.sh scripts/
COPY pyproject.toml requirements.txt requirements-gpu.txt README.md LICENSE ./
RUN scripts/image_steps.sh environment && rm -rf .cache

FROM build AS build-gpu
RUN scripts/image_steps.sh environment gpu && rm -rf .cache

FROM debian:13.1-slim AS runtime
WORKDIR /opt/bert
COPY scripts/image_steps.sh scripts/
RUN scripts/image_steps.sh install runtime && scripts/image_steps.sh user
ENV PATH=/opt/bert/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=1
CMD ["bert", "--help"]

FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-gpu /opt/bert/.venv .venv
COPY . .
ARG COMMIT
ENV BERT_COMMIT=$COMMIT
LABEL org.opencontainers.image.revision=$COMMIT
USER 10001:10001

FROM runtime AS cpu
COPY --from=build /opt/bert/.venv .venv
COPY . .
ARG COMMIT
ENV BERT_COMMIT=$COMMIT
LABEL org.opencontainers.image.revision=$COMMIT
USER 10001:10001
