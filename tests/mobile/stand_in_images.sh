#!/bin/sh
# Makes stand-ins of the images that mobile/Containerfile begins with, of Debian 12's own packages, where no registry of
# images can be reached. The distroless one holds the packages that distroless takes, and no shell either.
#
#   stand_in_images.sh FOLDER podman [OPTIONS]
set -eu
work=$1
shift
base=$work/base root=$work/distroless
debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates,netbase bookworm "$base" >"$work/debootstrap.log" 2>&1
rm -f "$base"/usr/lib/python3*/EXTERNALLY-MANAGED
cp /etc/ssl/certs/ca-certificates.crt "$base/etc/ssl/certs/"
if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$base/etc/"; fi

mkdir -p "$root/tmp" "$root/home/nonroot"
for folder in bin sbin lib lib64; do
  mkdir -p "$root/usr/$folder"
  ln -s "usr/$folder" "$root/$folder"
done
chmod 1777 "$root/tmp"
packages="base-files netbase tzdata libc6 libssl3 libgcc-s1 libstdc++6 zlib1g libbz2-1.0 libcrypt1 libdb5.3 libexpat1
libffi8 liblzma5 libncursesw6 libnsl2 libreadline8 libsqlite3-0 libtinfo6 libtirpc3 libuuid1 libcom-err2
libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libkeyutils1 libpython3.11-minimal libpython3.11-stdlib
python3.11-minimal"
for package in $packages; do
  chroot "$base" dpkg-query -L "$package"
done | sort -u | while read -r file; do
  if [ -e "$base$file" ] && [ ! -d "$base$file" ]; then echo ".$file"; fi
done >"$work/files"
tar -C "$base" -c --no-recursion -T "$work/files" | tar -C "$root" -x --keep-directory-symlink
mkdir -p "$root/etc/ssl/certs"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
ln -sf python3.11 "$root/usr/bin/python3"
echo "nonroot:x:65532:65532::/home/nonroot:/sbin/nologin" >"$root/etc/passwd"
echo "nonroot:x:65532:" >"$root/etc/group"
chown 65532:65532 "$root/home/nonroot"

# For the step with npm: this machine's Node.js, with what it is linked to.
node=$(command -v node) npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
cp -L "$node" "$base/usr/bin/node"
mkdir -p "$base/usr/lib/node_modules"
cp -a "$npm" "$base/usr/lib/node_modules/npm"
ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$base/usr/bin/npm"
ldd "$node" | grep -o '/[^ ]*' | while read -r library; do
  if [ ! -e "$base$library" ]; then cp -L "$library" "$base$library"; fi
done

certificates="ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt"
tar -C "$base" -c . | "$@" import -q -c "$certificates" - docker.io/library/python:3.11-slim-bookworm
"$@" tag docker.io/library/python:3.11-slim-bookworm docker.io/library/node:22-bookworm-slim
tar -C "$root" -c . | "$@" import -q -c "USER 65532" -c "WORKDIR /home/nonroot" -c "ENV PATH=/usr/bin" \
  - gcr.io/distroless/python3-debian12:nonroot
rm -rf "$base" "$root"
