#!/usr/bin/env bash
# What a program gets that uses the library: with none of its features, and with the server's. The
# default, which is the program's, has targets of its own: lint, test-rust and doc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly target=${CARGO_TARGET_DIR:-$PWD/target}
# Beside itself. There were 12 when this was written.
readonly CRATES_MAX=20
# What the fan-out knows nothing of.
readonly NEVER='http hyper serde serde_json tracing tungstenite'
locked=()
if [[ -n ${CI:-} ]]; then locked=(--locked); fi

say() {
  echo "library: $1"
}

fail() {
  echo "FAILED: library: $1" >&2
  exit 1
}

# The library by itself, since what tests need gives its dependencies more features than it asks for.
check() {
  local name=$1
  shift
  say "clippy and documentation with $name"
  cargo clippy "${locked[@]}" --no-default-features "$@" --lib -- -D warnings
  RUSTDOCFLAGS='-D warnings' cargo doc "${locked[@]}" --no-default-features "$@" --no-deps --lib
}

# The names of the crates that come with the library, one a line.
crates() {
  cargo tree "${locked[@]}" --no-default-features --edges normal --prefix none --no-dedupe --format '{p}' |
    awk '$1 != "slabcast" { print $1, $2 }' | sort -u
}

count_crates() {
  local found count name
  found=$(crates)
  count=$(wc -l <<<"$found")
  say "with no features, it brings $count other crates"
  ((count > 0)) || fail "cargo tree has found no crates at all"
  ((count <= CRATES_MAX)) || fail "that is more than $CRATES_MAX: $found"
  for name in $NEVER; do
    if grep -q "^$name " <<<"$found"; then fail "the fan-out by itself needs no $name"; fi
  done
}

# The first example of src/room.rs as the body of a program, hidden lines included.
example() {
  echo 'fn main() -> std::io::Result<()> {'
  awk '/^\/\/! ```/ { if (inside) exit; inside = 1; next } inside' src/room.rs | sed -E 's,^//! ?,,; s,^# ?,,'
  echo '}'
}

# Compiled and run as anybody else's: what it uses is public, and it names every feature that it needs.
run_outside() {
  local outside
  outside=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder as it is now
  trap "rm -rf '$outside'" EXIT
  mkdir "$outside/src"
  example >"$outside/src/main.rs"
  grep -q 'assert_eq!' "$outside/src/main.rs" || fail "src/room.rs has no example that asserts something"
  # The versions that all else was tried with.
  cp Cargo.lock "$outside/"
  cat >"$outside/Cargo.toml" <<-END
	[package]
	name = "outside"
	version = "0.0.0"
	edition = "2024"

	[dependencies]
	bytes = "1"
	slabcast = { path = "$PWD", default-features = false }
	tokio = { version = "1", features = ["io-util", "macros", "net", "rt-multi-thread"] }
	END
  say "the example of src/room.rs as a program of its own"
  CARGO_TARGET_DIR=$target/library timeout 600 cargo run --quiet --manifest-path "$outside/Cargo.toml"
}

check 'no features'
say 'its tests and examples, and those in its documentation, with no features'
cargo test "${locked[@]}" --no-default-features --doc
cargo clippy "${locked[@]}" --no-default-features --lib --examples --test room -- -D warnings
cargo test "${locked[@]}" --no-default-features --lib --test room
check 'the server' --features server
# They are run with the program's features, like those in the documentation: one build less.
say 'the examples with the server'
cargo clippy "${locked[@]}" --no-default-features --features server --examples -- -D warnings
count_crates
run_outside
say 'all of it is well'
