#!/bin/sh
# Installs Debian packages without starting the servers in them. Runs as root: debian.sh <package>...
# A script of its own, so that it puts everything back even when the set-up that called it has been killed.
set -eu

mark='# kith set-up: no service starts while packages are installed'
policy=${KITH_POLICY:-/usr/sbin/policy-rc.d} # asked before any service is started (Debian policy 9.3.3.1); 101 forbids it
made=

cleanup() {
  if [ -n "$made" ]; then rm -f "$policy"; fi
}
trap cleanup EXIT
# The shell takes a signal when apt has ended: packages are never left half installed.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Somebody else's policy stays in force; ours is left over only from a machine that lost power.
if [ ! -e "$policy" ] || grep -qF "$mark" "$policy"; then
  made=1
  printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
  chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
apt-get -o DPkg::Lock::Timeout=300 update || echo "set-up: apt-get update failed; going on with the lists that are there"
apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"

# Kith and its bench start private servers when they need them; the distribution's own must not come up at the next boot.
# Only what was missing is installed here, so nobody's running server is meant.
for package in "$@"; do
  case $package in
    prosody | tinc | openvpn | n2n | fastd) service=$package ;;
    openssh-server) service=ssh ;;
    *) continue ;;
  esac
  if [ -d /run/systemd/system ]; then
    systemctl disable "$service" || true
  elif command -v update-rc.d >/dev/null; then
    update-rc.d "$service" disable || true
  fi
done
