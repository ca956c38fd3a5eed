#!/bin/sh
# free_space.sh FOLDER...: a line for each, `FOLDER GiB files`, with what may still be written there;
# `none none` where the folder cannot be created or written, `unlimited` where there is no limit.
# Folders need not exist yet. On Lustre the quota of the folder's project counts (lfs quota prints
# used, soft and hard limit of KiB, then of files).
set -eu

of_lustre() {
  project=$(lfs project -d "$1" | awk '{print $1}')
  [ "${project:-0}" != 0 ] || return 1
  # lfs breaks the line after a long name, and marks a figure over its limit with a star
  lfs quota -q -p "$project" "$1" | tr -d '*[]' | tr '\n' ' ' | awk '
    function left(used, soft, hard) { hard = hard > 0 ? hard : soft; return hard > 0 ? hard - used : "unlimited" }
    { gib = left($2, $3, $4); print (gib == "unlimited" ? gib : int(gib / 1048576)), left($6, $7, $8) }'
}

of_file_system() {
  stat -f -c '%a %S %d %c' "$1" | awk '{ print int($1 * $2 / 1073741824), ($4 > 0 ? $3 : "unlimited") }'
}

for folder; do
  there=$folder
  while [ ! -d "$there" ]; do
    there=$(dirname "$there")
  done
  if [ ! -w "$there" ]; then
    free="none none"
  elif [ "$(stat -f -c %T "$there")" = lustre ] && free=$(of_lustre "$there"); then
    :
  else
    free=$(of_file_system "$there")
  fi
  echo "$folder $free"
done
