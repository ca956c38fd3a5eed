#!/bin/bash
# Pin and hash the requirements anew, for the Python and the platform of the images; needs uv. cpu-torch.txt is by hand.
# PIP_FIND_LINKS, where set, is a folder with torch's CPU wheel.
set -euo pipefail
cd "$(dirname "$0")"
export UV_CUSTOM_COMPILE_COMMAND=containers/requirements/compile.sh
compile() { # NAME PYTHON [OPTION...]
  uv pip compile --quiet --generate-hashes --no-annotate --python-version "$2" \
    --python-platform x86_64-manylinux_2_28 --output-file "$1.txt" "${@:3}" "$1.in"
}
torch=(--index https://download.pytorch.org/whl/cpu)
[ -z "${PIP_FIND_LINKS:-}" ] || torch=(--find-links "$PIP_FIND_LINKS")
compile build 3.11
compile cpu 3.11 --constraint build.txt "${torch[@]}" --constraint cpu-torch.txt --no-emit-package torch
base=(--override base.txt --no-emit-package numpy)
compile gpu 3.12 "${base[@]}" --constraint build.txt
compile deepspeed 3.12 "${base[@]}" --constraint build.txt --constraint gpu.txt
