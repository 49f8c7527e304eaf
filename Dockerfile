# syntax=docker/dockerfile:1
# Two images from one file: `aquifer` (the last stage, what `docker build .` makes) and `minio`, the object store of
# docker-compose.yml. Both compile what is pinned here and run on a plain Debian, without root.

# --- aquifer, compiled --------------------------------------------------------------------------------------------------
FROM rust:1.95-slim-bookworm AS build
# make, cmake and pkg-config are for the C libraries that crates bring along (zstd, the TLS primitives).
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake g++ make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches outlive the build; the binary must leave them within the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p aquifer --bin aquifer \
    && cp target/release/aquifer /usr/local/bin/aquifer

# --- MinIO, compiled ----------------------------------------------------------------------------------------------------
# MinIO publishes sources only. The version is the one that tests/interop runs against (rig/tools.py).
FROM golang:1.24-bookworm AS minio-build
ARG MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
RUN CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags=-s github.com/minio/minio@${MINIO_VERSION}

FROM debian:bookworm-slim AS minio
RUN useradd --system --uid 10001 --user-group minio && install -d -o minio -g minio /data
COPY --from=minio-build /out/minio /usr/local/bin/minio
USER 10001:10001
VOLUME /data
EXPOSE 9000
ENTRYPOINT ["minio"]
CMD ["server", "/data"]

# --- the broker ---------------------------------------------------------------------------------------------------------
FROM debian:bookworm-slim AS aquifer
# Certificates of public authorities: object stores are reached over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group aquifer \
    && install -d -o aquifer -g aquifer /var/lib/aquifer
COPY --from=build /usr/local/bin/aquifer /usr/local/bin/aquifer
USER 10001:10001
# Used by file:// storage alone; a broker over a bucket owns no data.
VOLUME /var/lib/aquifer
EXPOSE 9092
# SIGTERM drains: partitions and coordinators are handed over, the lane is uploaded and sealed. Give it 30 s
# (`docker stop -t 30`; docker-compose.yml does): a broker that is cut off loses nothing, but its successor has to recover.
STOPSIGNAL SIGTERM
# The listener opens when the broker may serve.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9092"]
ENTRYPOINT ["aquifer"]
CMD ["--storage", "file:///var/lib/aquifer", "--listeners", "PLAINTEXT://0.0.0.0:9092", "--node-id", "0", "--set", "advertised.listeners=PLAINTEXT://localhost:9092"]
