#!/bin/bash
# install_requirements.sh NAME...: install pinned, hashed requirements into the image's `python`, nothing else.
# From the wheels that the build brought, if any, else from pip's index.
set -euo pipefail
here=/opt/encore
options=(--require-hashes --no-deps --no-build-isolation --no-cache-dir --disable-pip-version-check --quiet)
if compgen -G "$here/wheels/*.whl" >/dev/null; then
  options+=(--no-index --find-links "$here/wheels")
fi
# NVIDIA's base constrains versions that these files replace on purpose; Ubuntu protects its Python from pip
unset PIP_CONSTRAINT
export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore
# DeepSpeed's source distribution: install without compiling its operators
export DS_BUILD_OPS=0
for name in "$@"; do
  index=()
  # PyTorch's CPU builds are in its own index only
  if [ "$name" = cpu-torch ] && [[ " ${options[*]} " != *" --no-index "* ]]; then
    index=(--index-url https://download.pytorch.org/whl/cpu)
  fi
  python -m pip install "${options[@]}" "${index[@]}" --requirement "$here/requirements/$name.txt"
done
