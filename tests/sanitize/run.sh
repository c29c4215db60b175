#!/usr/bin/env bash
# The contract of a room on real threads, under ThreadSanitizer and under AddressSanitizer, by the
# compiler that is there: RUSTC_BOOTSTRAP lets a stable one do it.
#
#   tests/sanitize/run.sh [thread|address]...
#
# Under AddressSanitizer the library's unit tests and the whole of tests/fanout_suite/, too. With ALL=1
# tests on sockets as well, and all of that under ThreadSanitizer. For both every dependency is built
# anew. First what is broken on purpose is to be found, with the suppressions that the tests have: else
# what follows would say nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-$PWD/target}
triple=$(rustc --version --verbose | sed -n 's/^host: //p')
found_code=66

export RUSTC_BOOTSTRAP=1
# Without optimisation ThreadSanitizer found nothing at all here, not even what is meant.
export CARGO_PROFILE_DEV_OPT_LEVEL=1
export TSAN_OPTIONS="suppressions=$PWD/tests/sanitize/thread.suppressions exitcode=$found_code"
export ASAN_OPTIONS="exitcode=$found_code"

flags_of() {
  case $1 in
    thread) echo '-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' ;;
    address) echo '-Zsanitizer=address' ;;
    *) echo "no such sanitizer: $1" >&2 && return 1 ;;
  esac
}

# Builds the program that is broken on purpose, and has the sanitizer find what is wrong with it.
find_what_is_meant() {
  local sanitizer=$1 flags code=0
  flags=$(flags_of "$sanitizer")
  mkdir -p "$target/$sanitizer"
  # The flags are words, and meant to be split.
  # shellcheck disable=SC2086
  rustc --edition 2024 -Copt-level=1 $flags --target "$triple" --cfg "$sanitizer" \
    -o "$target/$sanitizer/seeded" tests/sanitize/seeded.rs
  "$target/$sanitizer/seeded" >"$target/$sanitizer/seeded.log" 2>&1 || code=$?
  if [[ $code != "$found_code" ]]; then
    cat "$target/$sanitizer/seeded.log"
    echo "$sanitizer: what is broken on purpose was not found (exit $code)" >&2
    return 1
  fi
  sed -n 's/^SUMMARY/meant: &/p' "$target/$sanitizer/seeded.log" | head -n 1
}

if [[ $# == 0 ]]; then set -- thread address; fi
for sanitizer in "$@"; do
  find_what_is_meant "$sanitizer"
  flags=$(flags_of "$sanitizer")
  RUSTFLAGS="$flags --cfg sanitized" cargo test --locked --target "$triple" \
    --target-dir "$target/$sanitizer" --manifest-path tests/models/Cargo.toml --test threads
  tests=()
  if [[ $sanitizer == address || ${ALL:-} ]]; then tests+=(--lib --test fanout_suite); fi
  if [[ ${ALL:-} ]]; then tests+=(--test slow_consumer --test drain); fi
  if [[ ${#tests[@]} -gt 0 ]]; then
    RUSTFLAGS=$flags cargo test --locked --target "$triple" --target-dir "$target/$sanitizer" "${tests[@]}"
  fi
done
