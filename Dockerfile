# Needs BuildKit (the default since Docker 23). The cache mounts keep the compiled dependencies between builds.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# rust-toolchain.toml would fetch the lint tools, which a build does not need.
ENV RUSTUP_TOOLCHAIN=1.95.0
# What `surepass --version` names, since .git is not copied: --build-arg SUREPASS_COMMIT="$(git log -1 --abbrev=10 --format='%h %cs')"
ARG SUREPASS_COMMIT=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bins \
    && cp target/release/surepass target/release/surepass-worker /usr/local/bin/ \
    # Four fifths of a program are its tables of source lines. The names of functions stay, for backtraces.
    && strip --strip-debug /usr/local/bin/surepass /usr/local/bin/surepass-worker

FROM debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/surepass /usr/local/bin/surepass-worker /usr/local/bin/
RUN useradd --system --uid 10001 --home-dir /var/lib/surepass --create-home surepass
USER surepass
WORKDIR /var/lib/surepass
ENV SUREPASS_BIND=0.0.0.0:8080 \
    SUREPASS_SERVER_METRICS_BIND=0.0.0.0:9463 \
    SUREPASS_METRICS_BIND=0.0.0.0:9464 \
    SUREPASS_DATA_DIR=/var/lib/surepass \
    SUREPASS_LOG_FORMAT=json
EXPOSE 8080 9463 9464
CMD ["surepass", "serve"]
