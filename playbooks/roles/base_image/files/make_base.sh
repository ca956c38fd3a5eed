#!/bin/bash
# make_base.sh SUITE MIRROR PACKAGES FILE: builds an Apptainer image of that Debian suite. Run as root.
set -euo pipefail
suite=$1 mirror=$2 packages=$3 file=$4
rm -rf "$(dirname "$file")"/base.??????  # leftovers of a killed run
work=$(mktemp -d "$(dirname "$file")/base.XXXXXX")
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" "$mirror"
# the container runtime provides devices; caches only take space
rm -rf "$work"/root/dev/* "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/*
apptainer build "$work/base.sif" "$work/root"
chmod 0644 "$work/base.sif"
mv "$work/base.sif" "$file"
