#!/usr/bin/env bash
# Stands before rustc, for build.sh: what is ours is compiled with $INSTRUMENTS, and nothing else is.
set -euo pipefail

if [[ " $* " == *' --crate-name slabcast '* || " $* " == *' --crate-name slabcast_fuzz '* ]]; then
  # The instruments are words, and meant to be split.
  # shellcheck disable=SC2086
  exec "$@" $INSTRUMENTS
fi
exec "$@"
