#!/bin/sh
# Installs what `sonoforge mobile build --apk` needs from Debian, as root.  Debian 12 and 13 lack one package, Android's
# classes to compile against: a single .jar without dependencies, which is then taken from unstable, signed as all else.
set -eu
apt-get update -qq
apt-get install -y -qq --no-install-recommends aapt zipalign apksigner default-jdk-headless
if ! apt-get install -y -qq --no-install-recommends libandroid-23-java 2>/dev/null; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  chmod 755 "$folder"
  mkdir -p "$folder/lists/partial"
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$folder/sources.list"
  unstable() {
    apt-get -qq -o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null \
      -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" "$@"
  }
  unstable update
  (cd "$folder" && unstable download libandroid-23-java)
  dpkg -i "$folder"/libandroid-23-java_*_all.deb
fi
