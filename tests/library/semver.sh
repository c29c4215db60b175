#!/usr/bin/env bash
# Whether the public API has broken since the last release, or since a revision:
# semver.sh [revision]
#
# With no features and with the server's, since these are two libraries. It installs what looks at them
# into the target folder, which takes minutes once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# It reads what one version of rustdoc writes: newer ones may need a newer one of it.
readonly VERSION=0.51.0
readonly target=${CARGO_TARGET_DIR:-$PWD/target}
readonly tools=$target/semver-tools
base=${1:-}

if [[ -z $base ]]; then
  base=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)
fi
if [[ -z $base ]]; then
  echo 'SKIPPED: semver: nothing is released yet; make semver BASE=revision compares with any'
  exit 0
fi
revision=$(git rev-parse --verify --quiet "$base^{commit}") || {
  echo "semver: there is no revision $base here" >&2
  exit 2
}

if [[ ! -x $tools/bin/cargo-semver-checks ]]; then
  cargo install cargo-semver-checks --version "$VERSION" --locked --root "$tools" --target-dir "$tools/build"
  rm -rf "$tools/build"
fi

code=0
for features in '' server; do
  echo "semver: ${features:-no features}, against $base (${revision::9})"
  "$tools/bin/cargo-semver-checks" semver-checks --baseline-rev "$revision" --release-type "${RELEASE:-minor}" \
    --only-explicit-features ${features:+--features "$features"} || code=1
done
exit "$code"
