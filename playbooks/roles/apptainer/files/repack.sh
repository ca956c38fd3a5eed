#!/bin/bash
# repack.sh MIRROR SUITE FOLDER: builds FOLDER/apptainer.deb from the package of another Debian suite and the libraries
# that it was built against. The machine's own package lists and libraries stay unchanged. Run as root.
set -euo pipefail
mirror=$1 suite=$2 folder=$3
own=/opt/apptainer-libs
mkdir -p "$folder"
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

mkdir -p lists/partial cache/archives/partial
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >sources.list
apt=(apt-get -qq
  -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root)
"${apt[@]}" update
"${apt[@]}" download apptainer libc6 libseccomp2 libsqlite3-0

dpkg-deb --raw-extract apptainer_*.deb package
mkdir -p "package$own"
for library in libc6 libseccomp2 libsqlite3-0; do
  dpkg-deb --extract "$library"_*.deb "package$own"
done
libs=$own/usr/lib/x86_64-linux-gnu
for program in usr/bin/apptainer usr/lib/x86_64-linux-gnu/apptainer/bin/starter; do
  # DT_RPATH, not RUNPATH: it also applies to what the libraries themselves need
  patchelf --set-interpreter "$libs/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$libs:/lib/x86_64-linux-gnu" \
    "package/$program"
done
# bundled libraries are no longer dependencies; `Built-Using` lines and checksums describe the original package
sed -i -e '/^Built-Using:/d' -e '/^Static-Built-Using:/d' \
  -e 's/^Version: .*/&+encore1/' \
  -e '/^Depends:/s/, lib\(c6\|seccomp2\|sqlite3-0\) ([^)]*)//g' package/DEBIAN/control
rm -f package/DEBIAN/md5sums
dpkg-deb --root-owner-group -Znone --build package made.deb >/dev/null
mv made.deb "$folder/apptainer.deb"
