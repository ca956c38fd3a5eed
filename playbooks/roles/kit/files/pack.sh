#!/bin/sh
# pack.sh CHECKOUT [FILE]: prints the commit that is checked out; with FILE, packs it there as a tar.
set -eu
git -C "$1" rev-parse HEAD
if [ -n "${2:-}" ]; then
  git -C "$1" archive --format=tar --output="$2" HEAD
fi
