#!/usr/bin/env bash
# Puts a software Vulkan driver (Mesa's lavapipe) on a Debian or Ubuntu machine, so that `wgpu` runs
# without a GPU. Ends with 0 if one is there afterwards.
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin

# The loader and the driver's manifest.
is_there() {
    ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' &&
        compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' >/dev/null
}

if is_there; then
    echo 'software Vulkan driver: installed'
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo 'software Vulkan driver: no apt-get here; install lavapipe by your own package manager'
    exit 1
fi
as_root=()
if [[ $(id -u) != 0 ]]; then
    if ! sudo -n true 2>/dev/null; then
        echo 'software Vulkan driver: installing it takes root'
        exit 1
    fi
    as_root=(sudo -n)
fi
export DEBIAN_FRONTEND=noninteractive
install() {
    "${as_root[@]}" timeout 300 apt-get install -y -qq --no-install-recommends \
        libvulkan1 mesa-vulkan-drivers >/dev/null
}
if ! install; then
    "${as_root[@]}" timeout 120 apt-get update -qq && install
fi
if is_there; then
    echo 'software Vulkan driver: installed now'
else
    echo 'software Vulkan driver: could not be installed'
    exit 1
fi
