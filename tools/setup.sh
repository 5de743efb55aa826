#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Install what building ("build"), building and testing ("test") or the pictures of lever bench ("plot") need on
# Debian or Ubuntu; "clients": only OpenAI's Python client, for a test of lever serve. Does nothing when every
# package is there; needs no terminal; runs as root or through sudo.
set -euo pipefail

build_packages=(build-essential cmake ninja-build pkg-config libpcre2-dev libutf8proc-dev libxxhash-dev
    liburing-dev libjansson-dev zlib1g-dev libedit-dev opencl-headers libmicrohttpd-dev)
test_packages=(git python3 python3-venv clang gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
    ocl-icd-libopencl1 pocl-opencl-icd curl chromium chromium-driver groff-base)
arm64_packages=(libpcre2-dev:arm64 libutf8proc-dev:arm64)

# A name without an architecture means the native one, also where a foreign one is installed beside it.
installed() {
    local arch
    case "$1" in *:*) arch=${1#*:} ;; *) arch="$native|all" ;; esac
    dpkg-query -W -f='${db:Status-Status} ${Architecture}\n' "$1" 2>/dev/null | grep -qE "^installed ($arch)$"
}

# A virtual environment for a test, which is skipped without it: that there is no network is no error.
install_clients() {
    local venv
    venv=$(dirname "$0")/../build/venv-clients
    if "$venv/bin/python" -c 'import openai' 2>/dev/null; then
        echo "setup: OpenAI's client is installed"
    elif python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check openai; then
        echo "setup: installed OpenAI's client"
    else
        echo "setup: OpenAI's client can not be installed here; its test will be skipped" >&2
    fi
}

case "${1:-test}" in
    build) wanted=("${build_packages[@]}") ;;
    test) wanted=("${build_packages[@]}" "${test_packages[@]}" "${arm64_packages[@]}") ;;
    plot) wanted=(gnuplot-nox) ;;
    clients) install_clients; exit 0 ;;
    *) echo "usage: tools/setup.sh build|test|plot|clients" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup: no apt-get here; install the counterparts of: ${wanted[*]}" >&2
    exit 0
fi
native=$(dpkg --print-architecture)
missing=()
for package in "${wanted[@]}"; do
    installed "$package" || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
    echo "setup: all packages are installed"
    exit 0
fi

root=()
if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null || { echo "setup: become root and install: ${missing[*]}" >&2; exit 1; }
    root=(sudo)
fi
echo "setup: installing ${missing[*]}"
if [[ " ${missing[*]} " == *:arm64* && $native != arm64 ]]; then
    "${root[@]}" dpkg --add-architecture arm64
fi
"${root[@]}" apt-get -q update
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}"
