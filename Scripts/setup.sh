#!/usr/bin/env bash
# Installs the Debian packages that building and testing Pulse needs, when they are missing.
#
# Asks apt for nothing when all are there. As root it installs what is missing; otherwise it says the
# command that does. The Swift toolchain itself is not a Debian package and must be on the PATH.
set -euo pipefail

packages=(
    make python3
    # The C and C++ library that the toolchain's clang builds against.
    libc6-dev libstdc++-12-dev
    # Libraries that Pulse is linked with; ARCHITECTURE.md says what each is for.
    libboost1.81-dev libcurl4-openssl-dev libisal-dev libkainjow-mustache-dev liblz4-dev
    librocksdb-dev
    libxxhash-dev libyaml-dev
    # A mail server for the tests; failing system calls, and a small file system.
    python3-aiosmtpd fiu-utils strace e2fsprogs mount util-linux
)

if ! command -v swift >/dev/null; then
    echo "setup: swift is not on the PATH; install the Swift 6.3 toolchain for Debian 12 from swift.org" >&2
    exit 1
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "setup: these packages are missing; as root, run:" >&2
    echo "    apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Another apt may be at work on a machine that has just started.
apt-get -o DPkg::Lock::Timeout=300 update -q
apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "${missing[@]}"
