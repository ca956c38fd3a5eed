#!/bin/bash
# install_gpu.sh TRAINERS: what the ROCm and the CUDA image share, on a base with PyTorch for its GPU.
# ENCORE_KERNELS: compile or torch. ENCORE_GPU_ARCHITECTURES: what kernels are compiled for.
set -euo pipefail
read -r -a trainers <<<"$1"
case $ENCORE_KERNELS in
compile | torch) ;;
*) echo "error: unknown kernels=$ENCORE_KERNELS; valid: compile, torch" >&2 && exit 1 ;;
esac

# the environment of a base from Docker says where its Python is; %post does not read it by itself
for file in /.singularity.d/env/*.sh; do
  set +u
  # shellcheck source=/dev/null
  [ ! -r "$file" ] || . "$file"
  set -u
done
# pyxis and enroot read the environment from /etc/environment instead (enroot documentation, "Environment")
if [ -r /.singularity.d/env/10-docker2singularity.sh ]; then
  sed -n 's/^export \([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' /.singularity.d/env/10-docker2singularity.sh |
    while read -r name; do printf '%s=%s\n' "$name" "${!name-}"; done >>/etc/environment
fi
for tool in python git c++; do
  command -v "$tool" >/dev/null || { echo "error: the base has no $tool on its PATH" >&2 && exit 1; }
done
python - <<'END'
import sys
import torch

if sys.version_info[:2] != (3, 12):
    sys.exit(f"error: the base has Python {sys.version.split()[0]}; the pinned requirements are for 3.12")
print(f"base: torch {torch.__version__}, Python {sys.version.split()[0]}")
END

needed=(build gpu)
# a base's own DeepSpeed, with its compiled operators, stays
python -c 'import deepspeed' 2>/dev/null || needed+=(deepspeed)
bash /opt/encore/inside/install_requirements.sh "${needed[@]}"

site=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cp -r /opt/encore/compat/. "$site"
python /opt/encore/inside/install_trainers.py "${trainers[@]}"

find /opt/encore/trainers -name __pycache__ -prune -exec rm -rf {} +
rm -rf /opt/encore/wheels /opt/encore/compat
python /opt/encore/inside/list_software.py >/opt/encore/software.cdx.json
