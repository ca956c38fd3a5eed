#!/bin/bash
# make_base.sh SUITE MIRROR PACKAGES FILE: a Debian of that suite as an Apptainer image. Run as root.
set -euo pipefail
suite=$1 mirror=$2 packages=$3 file=$4
rm -rf "$(dirname "$file")"/base.??????  # of a run that was killed
work=$(mktemp -d "$(dirname "$file")/base.XXXXXX")
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" "$mirror"
# devices are the running container's; caches are dead weight
rm -rf "$work"/root/dev/* "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/*
apptainer build "$work/base.sif" "$work/root"
chmod 0644 "$work/base.sif"
mv "$work/base.sif" "$file"
