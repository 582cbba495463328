#!/bin/sh
# Podman for the tests that run jobs in containers. Debian's packages, or an engine that is there already and answers.
set -eu
if command -v podman >/dev/null 2>&1 && podman --version >/dev/null 2>&1; then
  echo "containers: $(podman --version)"
  exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "no Podman, and no apt-get to install it with: install it, and the tests of containers will find it" >&2
  exit 1
fi
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends podman runc netavark iptables
