#!/bin/sh
# find_python.sh [PROGRAM]: prints the newest Python from 3.10 to 3.13 on the PATH, or PROGRAM if it is one.
for program in ${1:-python3.13 python3.12 python3.11 python3.10 python3}; do
  if "$program" -c 'import sys; raise SystemExit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
    command -v "$program"
    exit 0
  fi
done
exit 1
