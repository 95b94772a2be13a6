#!/usr/bin/env bash
# Puts Chromium on a Debian machine, for the test of the page (`cargo xtask web --test`). Ends with 0
# if one is there afterwards.
set -uo pipefail

is_there() {
    command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null
}

if is_there; then
    echo 'Chromium: installed'
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo 'Chromium: no apt-get here; install it by your own package manager'
    exit 1
fi
as_root=()
if [[ $(id -u) != 0 ]]; then
    if ! sudo -n true 2>/dev/null; then
        echo 'Chromium: installing it takes root'
        exit 1
    fi
    as_root=(sudo -n)
fi
export DEBIAN_FRONTEND=noninteractive
install() {
    "${as_root[@]}" timeout 300 apt-get install -y -qq --no-install-recommends chromium >/dev/null
}
if ! install; then
    "${as_root[@]}" timeout 120 apt-get update -qq && install
fi
if is_there; then
    echo 'Chromium: installed now'
else
    echo 'Chromium: could not be installed'
    exit 1
fi
