#!/usr/bin/env bash
# Runs Autobahn|Testsuite against $SLABCAST_BIN: run.sh [--engines lock hub]
#
# The suite needs Python 2.7, which no system has any more: $PYTHON27, one on the PATH, or one of
# pyenv's. Where there is none, the suite is left out; that is said, and noted in the file
# $SLABCAST_SKIPPED. What it needs besides is installed into this folder; what can't be is a failure
# where CI is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly PYTHON_OLDEST=3.11
# The last ones for Python 2.7.
readonly VIRTUALENV=virtualenv==20.15.1

leave_out() {
  echo "SKIPPED: conformance: $1"
  if [[ -n ${SLABCAST_SKIPPED:-} ]]; then echo "SKIPPED: conformance: $1" >>"$SLABCAST_SKIPPED"; fi
  exit 0
}

omit() {
  if [[ -n ${CI:-} ]]; then
    echo "FAILED: conformance: $1" >&2
    exit 1
  fi
  leave_out "$1"
}

has() {
  command -v "$1" >/dev/null 2>&1
}

is_python27() {
  # A shim of pyenv's is there even when there is no Python behind it.
  has "$1" && "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null
}

find_python27() {
  local python
  for python in "${PYTHON27:-python2.7}" python2; do
    if is_python27 "$python"; then
      command -v "$python"
      return
    fi
  done
  has pyenv || return 1
  for python in "$(pyenv root)"/versions/2.7.*/bin/python; do
    if is_python27 "$python"; then
      echo "$python"
      return
    fi
  done
  return 1
}

need_python3() {
  python=${PYTHON:-python3}
  has "$python" || omit "Python $PYTHON_OLDEST or newer is not installed"
  "$python" -c "import sys; sys.exit(sys.version_info < (${PYTHON_OLDEST/./, }))" || omit "$("$python" -V) is older than $PYTHON_OLDEST"
}

# Python 2.7 has no `venv` of its own. What makes one is needed once, and not kept.
need_suite() {
  # The copy of the list says what is installed; a time stamp would not survive a checkout.
  cmp -s requirements.txt .venv/.installed && return
  local python27 maker
  python27=$(find_python27) || leave_out "there is no Python 2.7, which Autobahn|Testsuite needs (set PYTHON27, or: pyenv install 2.7.18)"
  export PIP_DISABLE_PIP_VERSION_CHECK=1
  echo "Installing Autobahn|Testsuite for $python27"
  rm -rf .venv
  # -qq: errors, and not that it is too old, which everybody knows.
  maker=.venv/maker
  mkdir -p "$maker"
  "$python27" -m pip install -qq --target "$maker" "$VIRTUALENV" || omit "pip install $VIRTUALENV failed"
  PYTHONPATH=$PWD/$maker "$python27" -m virtualenv --quiet --python "$python27" .venv || omit "virtualenv failed"
  rm -rf "$maker"
  .venv/bin/pip install -qq -r requirements.txt || omit "pip install failed"
  cp requirements.txt .venv/.installed
}

if [[ ! -x ${SLABCAST_BIN:=../../target/release/slabcast} ]]; then
  echo "There is no server at $SLABCAST_BIN: make build, or set SLABCAST_BIN." >&2
  exit 1
fi
SLABCAST_BIN=$(realpath "$SLABCAST_BIN")
need_python3
need_suite
exec "$python" -B . --slabcast "$SLABCAST_BIN" --wstest "$PWD/.venv/bin/wstest" \
  --out "${CARGO_TARGET_DIR:-../../target}/conformance" "$@"
