#!/usr/bin/env bash
# Runs one of the suites against $SLABCAST_BIN:
# run.sh node | python | browser | metrics | docs | package | faults
# or against the programs in $SLABCAST_EXAMPLES:
# run.sh examples | example-pages
#
# Installs what it needs into this folder, and with apt-get what belongs to the system. What is
# missing all the same is a failure where CI is set; elsewhere it is said, and noted in the file
# $SLABCAST_SKIPPED. Arguments after the suite's name go to the test runner.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly NODE_OLDEST=20
readonly PYTHON_OLDEST=3.11
readonly suite=${1:-}
shift || true

# Something is missing, and with it a part of the suite.
miss() {
  if [[ -n ${CI:-} ]]; then
    echo "FAILED: $suite clients: $1" >&2
    exit 1
  fi
  echo "SKIPPED: $suite clients: $1"
  if [[ -n ${SLABCAST_SKIPPED:-} ]]; then echo "SKIPPED: $suite clients: $1" >>"$SLABCAST_SKIPPED"; fi
}

# The same for all of it.
omit() {
  miss "$1"
  exit 0
}

has() {
  command -v "$1" >/dev/null 2>&1
}

apt_as_root() {
  local -a root=()
  if [[ $(id -u) -ne 0 ]]; then
    { has sudo && sudo -n true 2>/dev/null; } || return 1
    root=(sudo -n)
  fi
  has apt-get || return 1
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@"
}

apt_update() {
  apt_as_root update
}

# Says on stderr what went wrong; whether that is bad, the caller knows.
apt_install() {
  echo "Installing $* with apt-get"
  apt_update && apt_as_root install --yes "$@" >/dev/null
}

need_binary() {
  if [[ ! -x ${SLABCAST_BIN:=../../target/release/slabcast} ]]; then
    echo "There is no server at $SLABCAST_BIN: make build, or set SLABCAST_BIN." >&2
    exit 1
  fi
  SLABCAST_BIN=$(realpath "$SLABCAST_BIN")
  export SLABCAST_BIN
}

need_examples() {
  if [[ ! -d ${SLABCAST_EXAMPLES:=../../target/debug/examples} ]]; then
    echo "There are no examples at $SLABCAST_EXAMPLES: make test-examples, or set SLABCAST_EXAMPLES." >&2
    exit 1
  fi
  SLABCAST_EXAMPLES=$(realpath "$SLABCAST_EXAMPLES")
  export SLABCAST_EXAMPLES
}

need_node_modules() {
  { has node && has npm; } || omit "Node $NODE_OLDEST or newer and npm are not installed"
  local version
  version=$(node -p 'process.versions.node')
  ((${version%%.*} >= NODE_OLDEST)) || omit "Node $version is older than $NODE_OLDEST"
  # The copy of the lock file says what is installed; a time stamp would not survive a checkout.
  if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --silent || omit "npm ci failed"
    cp package-lock.json node_modules/.installed
  fi
}

need_venv() {
  local python=${PYTHON:-python3}
  has "$python" || omit "Python $PYTHON_OLDEST or newer is not installed"
  "$python" -c "import sys; sys.exit(sys.version_info < (${PYTHON_OLDEST/./, }))" || omit "$("$python" -V) is older than $PYTHON_OLDEST"
  if ! cmp -s requirements.txt .venv/.installed; then
    # Debian keeps what `venv` needs in a package of its own.
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv || omit "python3-venv is missing and can't be installed: apt-get install python3-venv"
    rm -rf .venv
    "$python" -m venv .venv || omit "python -m venv failed"
    .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt || omit "pip install failed"
    cp requirements.txt .venv/.installed
  fi
}

find_chromium() {
  local name
  for name in "${CHROMIUM:-chromium}" chromium-browser google-chrome; do
    if has "$name"; then
      CHROMIUM=$(command -v "$name")
      export CHROMIUM
      return
    fi
  done
  return 1
}

need_chromium() {
  find_chromium && return
  apt_install chromium || omit "Chromium is missing and can't be installed: apt-get install chromium, or set CHROMIUM"
  find_chromium || omit "Chromium is not on the PATH after its installation"
}

need_curl() {
  has curl || apt_install curl || omit "curl is missing and can't be installed: apt-get install curl"
}

# Debian has it in the package of the server, whose installation would start one: so the package is
# unpacked here, and not installed.
need_promtool() {
  PROMTOOL=$(command -v "${PROMTOOL:-promtool}" || echo "$PWD/.promtool/usr/bin/promtool")
  export PROMTOOL
  [[ -x $PROMTOOL ]] || fetch_promtool || omit "promtool is missing and can't be fetched: apt-get install prometheus, or set PROMTOOL"
}

fetch_promtool() {
  fetch prometheus .promtool && [[ -x $PROMTOOL ]]
}

# Unpacked, too, and for the same reason. The tests of one that can't be had are left out.
want_server() {
  local variable=${1^^}
  declare -gx "$variable=$(command -v "$1" || find "$PWD/.$1" -path "*bin/$1" -type f -perm -u+x 2>/dev/null | head -n 1)"
  if [[ -z ${!variable} ]]; then
    fetch "$1" ".$1" || miss "$1 is missing and can't be fetched: apt-get install $1, or set $variable"
    declare -gx "$variable=$(find "$PWD/.$1" -path "*bin/$1" -type f -perm -u+x 2>/dev/null | head -n 1)"
  fi
}

# Unpacks a package of the system's into a folder here.
fetch() {
  { has apt-get && has dpkg-deb; } || return 1
  mkdir -p "$2"
  echo "Fetching $1 with apt-get"
  (cd "$2" && { apt-get -qq download "$1" || { apt_update && apt-get -qq download "$1"; }; }) || return 1
  dpkg-deb -x "$2/$1"_*.deb "$2"
}

# A program of the system's, without which some tests are left out: want_tool program package.
want_tool() {
  has "$1" || apt_install "$2" || miss "$1 is missing and can't be installed: apt-get install $2"
}

need_network_namespace() {
  namespace=(--net)
  [[ $(id -u) -eq 0 ]] || namespace+=(--map-root-user)
  unshare "${namespace[@]}" true 2>/dev/null || omit "a network namespace can't be had (unshare ${namespace[*]})"
}

need_fault_tools() {
  local -a missing=()
  has unshare || missing+=(util-linux)
  { has ip && has tc; } || missing+=(iproute2)
  has nft || missing+=(nftables)
  has slowhttptest || missing+=(slowhttptest)
  compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)
  [[ ${#missing[@]} -eq 0 ]] || apt_install "${missing[@]}" || omit "missing, and can't be installed: apt-get install ${missing[*]}"
}

# A network with nothing in it but loopback, which goes with the last process in it. A kernel or a
# sandbox may refuse it to us, and then nobody can install it: what needs none is run all the same,
# but where CI is set.
in_own_network() {
  local -a unshare=(unshare --net --mount)
  [[ $(id -u) -eq 0 ]] || unshare+=(--map-root-user)
  if "${unshare[@]}" sh -c 'ip link set lo up && nft add table inet probe' 2>/dev/null; then
    export SLABCAST_OWN_NETWORK=1
    limited "${unshare[@]}" sh -c 'ip link set lo up && exec "$@"' sh "$@"
  fi
  miss "no network namespace with nftables is to be had (${unshare[*]}): the tests of networks and of a full disk"
  limited "$@"
}

# Every test has a limit of its own; this one is for a runner that hangs.
limited() {
  if has timeout; then exec timeout --foreground --kill-after=10 900 "$@"; fi
  exec "$@"
}

case $suite in
  node)
    need_binary
    need_node_modules
    need_curl
    limited node --test --test-reporter=spec "$@" node/*.test.mjs
    ;;
  python)
    need_binary
    need_venv
    limited .venv/bin/python -B -m unittest discover --start-directory python "$@"
    ;;
  browser)
    need_binary
    need_node_modules
    need_chromium
    limited node --test --test-reporter=spec "$@" browser/*.test.mjs
    ;;
  metrics)
    need_binary
    need_node_modules
    need_promtool
    limited node --test --test-reporter=spec "$@" metrics/*.test.mjs
    ;;
  docs)
    need_binary
    need_node_modules
    need_venv
    need_curl
    need_promtool
    want_server nginx
    want_server caddy
    need_network_namespace
    # Port 8080 of the pages is free there, and nothing that a page says reaches anybody else.
    limited unshare "${namespace[@]}" .venv/bin/python -B -m unittest discover --start-directory ../docs "$@"
    ;;
  package)
    need_binary
    need_venv
    need_curl
    want_tool systemd-analyze systemd
    want_tool strace strace
    limited .venv/bin/python -B -m unittest discover --start-directory ../packaging "$@"
    ;;
  faults)
    need_binary
    need_venv
    PATH=$PATH:/usr/sbin:/sbin
    need_fault_tools
    export PYTHONPATH=python
    in_own_network .venv/bin/python -B -m unittest discover --start-directory ../faults "$@"
    ;;
  examples)
    need_examples
    need_venv
    export PYTHONPATH=python
    limited .venv/bin/python -B -m unittest discover --start-directory ../examples "$@"
    ;;
  example-pages)
    need_examples
    need_node_modules
    need_chromium
    limited node --test --test-reporter=spec "$@" examples/*.test.mjs
    ;;
  *)
    echo "usage: $0 node | python | browser | metrics | docs | package | faults | examples | example-pages" >&2
    exit 2
    ;;
esac
