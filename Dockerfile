# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
# For aws-lc, which checks tokens.
RUN apt-get update && apt-get install --yes --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY web web
COPY benches benches
COPY examples examples
COPY docs/openapi.yaml docs/openapi.yaml
RUN cargo build --locked --release --bin slabcast

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin --uid 10001 slabcast
COPY --from=build /src/target/release/slabcast /usr/bin/slabcast
USER 10001:10001
# Everybody who can reach the container: so it wants SLABCAST_TOKENS_HMAC_SECRET, or
# SLABCAST_ANONYMOUS=true.
ENV SLABCAST_LISTEN=0.0.0.0:8080 SLABCAST_LOG_FORMAT=json
EXPOSE 8080
STOPSIGNAL SIGTERM
# bash is what the image has for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.1 200 ' <&3"]
ENTRYPOINT ["slabcast"]
CMD ["serve"]
