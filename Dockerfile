# One image with Halftone's three static binaries and nothing else: no shell, no libraries, no user database.
#
#   docker build -t halftone .          or: buildah build -t halftone .
#
# Where the binaries are built already, they can stand in for the first stage, which is then never run:
#
#   buildah build --build-context build=DIR -t halftone .       (DIR/out holds the binaries; `e2e/image` does this)

FROM docker.io/library/rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# The binaries carry their C library: `FROM scratch` has none. Symbols would be a tenth of them; a panic says its place in
# the sources without.
ENV RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_STRIP=symbols
RUN target="$(uname -m)-unknown-linux-gnu" \
 && cargo build --release --locked --target "$target" -p halftone -p halftone-proxy -p halftone-operator \
 && mkdir /out \
 && cd "target/$target/release" \
 && cp halftone halftone-proxy halftone-operator /out/

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Halftone" \
      org.opencontainers.image.description="Gray (canary) releases for HTTP services on Kubernetes" \
      org.opencontainers.image.source="https://github.com/halftone-dev/halftone" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/halftone /out/halftone-proxy /out/halftone-operator /
# By number: a cluster can then see that it is not root.
USER 65532:65532
# The chart says which of the three a pod runs.
ENTRYPOINT ["/halftone"]
