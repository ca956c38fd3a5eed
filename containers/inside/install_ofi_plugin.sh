#!/bin/bash
# install_ofi_plugin.sh RELEASE|none: build RCCL's libfabric plugin (aws-ofi-nccl) where the base has none.
# Without it RCCL uses TCP on Slingshot. source: aws-ofi-nccl INSTALL.md, --with-rocm
set -euo pipefail
release=$1
if [ "$release" = none ]; then
  exit 0
fi
plugin=$(find /opt /usr -name 'librccl-net*.so' -print -quit 2>/dev/null)
if [ -n "$plugin" ]; then
  echo "the base has RCCL's network plugin: $plugin"
  exit 0
fi
apt-get -o APT::Sandbox::User=root update -qq
apt-get -o APT::Sandbox::User=root install -qq --no-install-recommends \
  autoconf automake libtool make libfabric-dev libhwloc-dev
work=$(mktemp -d)
git -c advice.detachedHead=false clone --quiet --depth=1 --branch "$release" \
  https://github.com/aws/aws-ofi-nccl "$work/plugin"
cd "$work/plugin"
./autogen.sh
./configure --prefix=/usr/local --with-rocm=/opt/rocm --with-libfabric=/usr --disable-tests
make -j "$(nproc)" install
ldconfig
cd / && rm -rf "$work" /var/lib/apt/lists/*
