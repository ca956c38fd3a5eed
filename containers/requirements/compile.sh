#!/bin/bash
# compile.sh [NAME...]: pin and hash the requirements of the images anew, all or those named; needs uv.
#
# The kit's own requirements and their bounds come from the extras in pyproject.toml; the .in files hold what images
# add. A pin that still fits is kept, so that only what a bound excludes changes. cpu-torch.txt is edited by hand.
# PIP_FIND_LINKS, where set, is a folder with torch's CPU wheel.
set -euo pipefail
cd "$(dirname "$0")"
names=("$@")
[ $# -gt 0 ] || names=(build cpu gpu deepspeed)
export UV_CUSTOM_COMPILE_COMMAND=containers/requirements/compile.sh

compile() { # NAME PYTHON INPUT_OR_OPTION...
  uv pip compile --quiet --generate-hashes --no-annotate --python-version "$2" \
    --python-platform x86_64-manylinux_2_28 --output-file "$1.txt" "${@:3}"
}

kit=(../../pyproject.toml --extra data --extra train --extra convert --extra hub)
cpu_index=(--index https://download.pytorch.org/whl/cpu)
[ -z "${PIP_FIND_LINKS:-}" ] || cpu_index=(--find-links "$PIP_FIND_LINKS")
# torch, triton, NumPy and what they bring are compiled for a GPU base's libraries and stay
gpu_base=(--override without-torch.txt --no-emit-package numpy)

for name in "${names[@]}"; do
  case $name in
  build) compile build 3.11 build.in ;;
  cpu) compile cpu 3.11 "${kit[@]}" common.in deepspeed.in --constraint build.txt \
    "${cpu_index[@]}" --constraint cpu-torch.txt --no-emit-package torch ;;
  gpu) compile gpu 3.12 "${kit[@]}" common.in gpu.in --constraint build.txt \
    "${gpu_base[@]}" --override without-deepspeed.txt ;;
  deepspeed) compile deepspeed 3.12 deepspeed.in --constraint build.txt --constraint gpu.txt "${gpu_base[@]}" ;;
  *) echo "error: unknown requirements '$name'; valid: build cpu gpu deepspeed" >&2 && exit 2 ;;
  esac
done
