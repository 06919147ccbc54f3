# wasmill and its guests in two stages: one builds them, the other one runs them.
#
#   docker build --tag wasmill .
#
# Needs BuildKit (the default since Docker 23), which keeps compiled code between builds.
#
# `cargo xtask image` executes this file where there is no engine: the first stage in a plain folder, so
# its commands say paths from the WORKDIR, and the second one in a minimal Debian.

FROM rust:1.95.0-bookworm AS builder
WORKDIR /src
# The compiler of the image; without this, rustup would fetch what rust-toolchain.toml adds for developers.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN rustup target add wasm32-wasip2
COPY . .
# The guests `hostile` and `hostile_aggregate` are for tests of the sandbox.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    rm -rf target/guests \
    && cargo build --release --locked --package wasmill \
    && cargo xtask guests \
    && mkdir -p image/guests \
    && strip --strip-debug -o image/wasmill target/release/wasmill \
    && cp target/guests/*.wasm image/guests/ \
    && cp /etc/ssl/certs/ca-certificates.crt image/ \
    && rm image/guests/hostile*.wasm

FROM debian:bookworm-slim
# The only folders that it writes to, each kept by a volume: compiled guests, and checkpoints.
RUN groupadd --gid 10001 wasmill \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin wasmill \
    && install --directory --owner=wasmill --group=wasmill --mode=0700 \
        /var/cache/wasmill /opt/wasmill/data/checkpoints
WORKDIR /opt/wasmill
COPY --from=builder /src/image/wasmill /usr/local/bin/wasmill
# Whom to trust, for checkpoints in a bucket.
COPY --from=builder /src/image/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /src/image/guests target/guests
COPY pipeline.toml .
ENV WASMILL_CACHE=/var/cache/wasmill
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["wasmill", "status", "pipeline.toml"]
ENTRYPOINT ["wasmill"]
CMD ["run", "pipeline.toml"]
