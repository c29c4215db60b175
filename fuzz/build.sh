#!/usr/bin/env bash
# Builds the fuzzer, which is all targets in one program: fuzz/build.sh quick|whole
#
#   quick  what is ours is instrumented, and the dependencies are those of slabcast's tests:
#          debug/slabcast-fuzz, in a minute where the tests are built
#   whole  everything is, and AddressSanitizer looks on: fuzz/slabcast-fuzz, in minutes
#
# It needs a C++ compiler, for libFuzzer. Without one nothing is built, which is a failure where CI is
# set; elsewhere the quick one is left out then, and that is noted in the file $SLABCAST_SKIPPED.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

target=${CARGO_TARGET_DIR:-$PWD/../target}
# Which places were reached and what was compared with what, for libFuzzer to see. Of several units of
# code generation the linker would take the counters of one.
instruments='-Ccodegen-units=1 -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares'

has() {
  command -v "$1" >/dev/null 2>&1
}

need_compiler() {
  has "${CXX:-c++}" && return
  if [[ $(id -u) == 0 ]] && has apt-get; then
    echo 'Installing g++ with apt-get'
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes g++ >/dev/null && return
  fi
  local missing='fuzz: there is no C++ compiler, and it can not be installed: apt-get install g++, or set CXX'
  if [[ -n ${CI:-} || $1 != quick ]]; then
    echo "FAILED: $missing" >&2
    exit 1
  fi
  echo "SKIPPED: $missing"
  if [[ -n ${SLABCAST_SKIPPED:-} ]]; then echo "SKIPPED: $missing" >>"$SLABCAST_SKIPPED"; fi
  rm -f "$target/debug/slabcast-fuzz"
  exit 0
}

build() {
  "${CARGO:-cargo}" build --locked "$@"
}

case ${1:-} in
  quick)
    need_compiler quick
    # Flags for everything would build everything anew, so a wrapper gives them to what is ours.
    RUSTC_WRAPPER=$PWD/instrument.sh INSTRUMENTS=$instruments CARGO_INCREMENTAL=0 \
      build --features like-the-tests --target-dir "$target"
    ;;
  whole)
    need_compiler whole
    # For a named target, so that the flags are not for what runs while it is built. The sanitizer is
    # the nightly compiler's, which a stable one is, too, when it is told so.
    triple=$(rustc --version --verbose | sed -n 's/^host: //p')
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="--cfg fuzzing -Zsanitizer=address $instruments" \
      build --release --target "$triple" --target-dir "$target/fuzz"
    ln -sf "$triple/release/slabcast-fuzz" "$target/fuzz/slabcast-fuzz"
    ;;
  *)
    sed -n '2,6s/^# \{0,1\}//p' build.sh >&2
    exit 2
    ;;
esac
