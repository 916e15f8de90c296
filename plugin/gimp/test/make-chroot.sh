#!/bin/sh
# A Debian 13 with GIMP 3.0 in a folder, for the tests in real GIMP: made once (a minute, 1 GB), then found again. Prints the folder.
# Changes nothing else on this computer and mounts nothing. Where it cannot be made it says why and ends with 77.
set -eu
root=${SMHDR_GIMP_ROOT:-/var/cache/smhdr/gimp-trixie}
mirror=${SMHDR_DEBIAN_MIRROR:-http://deb.debian.org/debian}
cannot() { echo "GIMP 3 is not here: $1" >&2; exit 77; }

if [ -e "$root/ready" ]; then echo "$root"; exit 0; fi
[ "$(uname -s)" = Linux ] || cannot "its Debian can be set up on Linux only."
[ "$(id -u)" = 0 ] || cannot "setting up its Debian ($root) takes root: sudo $0"
command -v dpkg-deb >/dev/null || cannot "setting up its Debian takes dpkg."

mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock 9 # two tests may want it at once
if [ -e "$root/ready" ]; then echo "$root"; exit 0; fi
work=$(mktemp -d "$root.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT INT TERM
if ! command -v debootstrap >/dev/null; then
  # Unpacked beside it, not installed.
  (cd "$work" && apt-get -qq download debootstrap >/dev/null 2>&1) || cannot "debootstrap is missing and cannot be fetched: apt-get install debootstrap"
  dpkg-deb -x "$work"/debootstrap_*.deb "$work/tools"
  export DEBOOTSTRAP_DIR="$work/tools/usr/share/debootstrap"
  PATH="$work/tools/usr/sbin:$PATH"
fi
say="$work/log"
debootstrap --variant=minbase trixie "$work/root" "$mirror" >"$say" 2>&1 || { tail -5 "$say" >&2; cannot "its Debian could not be fetched from $mirror."; }
# The X server, the window manager and what follows are for the test with windows.
DEBIAN_FRONTEND=noninteractive chroot "$work/root" apt-get install -qq -y --no-install-recommends \
  gimp gir1.2-gimp-3.0 python3-gi xvfb openbox xdotool imagemagick adwaita-icon-theme fonts-dejavu-core >"$say" 2>&1 || {
  tail -5 "$say" >&2
  cannot "its packages could not be installed."
}
chroot "$work/root" apt-get clean
touch "$work/root/ready"
mv -T "$work/root" "$root"
echo "$root"
