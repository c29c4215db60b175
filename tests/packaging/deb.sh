#!/usr/bin/env bash
# Builds the Debian package, unpacks it beside, and runs what is in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

omit() {
  if [[ -n ${CI:-} ]]; then echo "FAILED: deb: $1" >&2 && exit 1; fi
  echo "SKIPPED: deb: $1"
  exit 0
}

fail() {
  echo "FAILED: deb: $1" >&2
  exit 1
}

cargo deb --version >/dev/null 2>&1 || omit 'cargo-deb is not installed (cargo install cargo-deb --locked)'
command -v dpkg-deb >/dev/null || omit 'dpkg-deb is not installed'

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(realpath "$target")
# Made by the program itself, where Cargo.toml looks for them.
made=target/package
rm -rf "$made"
mkdir -p "$made"
"$SLABCAST_BIN" man --into "$made/man"
gzip --best --no-name "$made"/man/*.1
for shell in bash zsh fish; do "$SLABCAST_BIN" completions "$shell" >"$made/slabcast.$shell"; done

package=$target/debian/slabcast.deb
mkdir -p "${package%/*}"
cargo deb --no-build --strip --output "$package" ${CI:+--locked}

unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
dpkg-deb --extract "$package" "$unpacked/root"
dpkg-deb --control "$package" "$unpacked/control"
for file in usr/bin/slabcast etc/slabcast/slabcast.toml \
  lib/systemd/system/slabcast.service lib/systemd/system/slabcast.socket \
  usr/share/man/man1/slabcast.1.gz usr/share/man/man1/slabcast-config-check.1.gz \
  usr/share/bash-completion/completions/slabcast usr/share/zsh/vendor-completions/_slabcast \
  usr/share/fish/vendor_completions.d/slabcast.fish \
  usr/share/doc/slabcast/README.md usr/share/doc/slabcast/docs/operations.md usr/share/doc/slabcast/copyright; do
  [[ -s $unpacked/root/$file || -s $unpacked/root/usr/$file ]] || fail "$file is not in it"
done
grep -qx /etc/slabcast/slabcast.toml "$unpacked/control/conffiles" || fail 'the configuration is no conffile'
grep -q deb-systemd "$unpacked/control/postinst" || fail 'nothing enables the units'

# Our own variables are none of the program's.
env -i "$unpacked/root/usr/bin/slabcast" config check --config "$unpacked/root/etc/slabcast/slabcast.toml"
env -i PATH="$PATH" "$unpacked/root/usr/bin/slabcast" exec --room package --listen 127.0.0.1:0 --exit-with-command -- true
dpkg-deb --info "$package" | grep -E '^ (Package|Version|Architecture|Depends|Installed-Size):'
echo "$package: unpacked, checked and run"
