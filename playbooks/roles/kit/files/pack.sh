#!/bin/sh
# pack.sh CHECKOUT [FILE]: prints the checked-out commit; with FILE, also archives it there as a tar file.
set -eu
git -C "$1" rev-parse HEAD
if [ -n "${2:-}" ]; then
  git -C "$1" archive --format=tar --output="$2" HEAD
fi
