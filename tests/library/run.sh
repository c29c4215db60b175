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

# The first example of a file as the body of a program, hidden lines included.
example() {
  awk '/^(\/\/! )?```/ { if (inside) exit; inside = 1; next } inside' "$1" | sed -E 's,^//! ?,,; s,^#( |$),,'
}

# An example as anybody else's program: what it uses is public, and it names every feature that it needs.
# outside FILE 'WHAT MAIN RETURNS' 'FEATURES OF SLABCAST' 'ITS OTHER DEPENDENCIES' COMMAND...
outside() (
  outside=$(mktemp -d)
  trap 'rm -rf "$outside"' EXIT
  mkdir "$outside/src"
  { echo "fn main() $2 {"; example "$1"; echo '}'; } >"$outside/src/main.rs"
  grep -Eq 'assert_eq!|expect_err' "$outside/src/main.rs" || fail "$1 has no example that asserts something"
  # The versions that all else was tried with, and the profile: then what is there already is used.
  cp Cargo.lock "$outside/"
  cat >"$outside/Cargo.toml" <<-END
	[package]
	name = "outside"
	version = "0.0.0"
	edition = "2024"

	[dependencies]
	slabcast = { path = "$PWD", default-features = false, features = [$3] }
	$4

	[profile.dev]
	debug = "line-tables-only"
	END
  say "the example of $1 as a program of its own"
  shift 4
  CARGO_TARGET_DIR=$target timeout 600 cargo "$@" --quiet --manifest-path "$outside/Cargo.toml"
)

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
outside src/room.rs '-> std::io::Result<()>' '' 'bytes = "1"
tokio = { version = "1", features = ["io-util", "macros", "net", "rt-multi-thread"] }' run
# Not linked and run: that it does what it says, its documentation's test knows, and to build all that is
# below it once more would take minutes.
outside src/server/embedding.md '' '"server"' 'tokio = { version = "1", features = ["rt-multi-thread", "time"] }' check
say 'all of it is well'
