#!/bin/sh
# Builds the image of ./Dockerfile where no registry of images can be reached, on a base made here:
#   image.sh base          a Debian under the name that the Dockerfile's FROM gives, by debootstrap
#   image.sh build         the image, by buildah, which may pull nothing
#   image.sh unpack DIR    its root file system in DIR/rootfs, what it says of itself in DIR/config.json
#   image.sh clean         remove all of it
# Everything lies below build/image. Needs root, and Debian's buildah and debootstrap. It is for tests: who can
# reach a registry runs `docker build .`.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
WORK=$PWD/build/image
SUITE=trixie
BASE=$(sed -n 's/^ARG BASE=//p' Dockerfile)
NAME=localhost/ecmp-exporter:test

say() { echo "$*" >&2; }
fail() { say "$*"; exit 1; }
# Plain copies instead of overlays, and no daemon: works wherever root can chroot.
buildah() { command buildah --root "$WORK/storage" --runroot "$WORK/run" --storage-driver vfs "$@"; }

# Debian's mirror as apt was told of it here, else Debian's own.
mirror() {
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null | grep -v security | head -n 1
}

# What debian:trixie-slim is made of: Debian's base system without documentation and translations.
make_base() {
    [ ! -e "$WORK/base.tar" ] || return 0
    say "making a Debian $SUITE with debootstrap"
    rm -rf "$WORK/base"
    debootstrap --variant=minbase "$SUITE" "$WORK/base" $(mirror) > "$WORK/debootstrap.log" 2>&1 ||
        { tail -n 15 "$WORK/debootstrap.log" >&2; fail "debootstrap failed"; }
    printf 'path-exclude %s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' '/usr/share/info/*' \
        > "$WORK/base/etc/dpkg/dpkg.cfg.d/slim"
    tar --create --file "$WORK/base.tar.new" --directory "$WORK/base" --one-file-system --xattrs \
        --exclude './var/cache/apt/*' --exclude './var/lib/apt/lists/*' --exclude './var/log/*' --exclude './dev/*' \
        --exclude './usr/share/doc/*' --exclude './usr/share/man/*' --exclude './usr/share/locale/*' \
        --exclude './usr/share/info/*' .
    mv "$WORK/base.tar.new" "$WORK/base.tar"
    rm -rf "$WORK/base"
}

base() {
    make_base
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$WORK/base.tar" / > /dev/null
    buildah config --cmd bash "$container"
    buildah commit --quiet --rm "$container" "$BASE" > /dev/null
}

# Only what this machine's pip needs to reach its index; a secret of the build is in no layer.
secrets() {
    # pip also obeys the environment: its variables become lines of the file that the build sees.
    { echo '[global]'
      for key in index-url extra-index-url proxy trusted-host; do
          value=$(python3 -m pip config get "global.$key" 2>/dev/null || python3 -m pip config get ":env:.$key" 2>/dev/null) || continue
          echo "$key = $value"
      done
      ! authority > /dev/null || echo 'cert = /run/secrets/ca.crt'
    } > "$WORK/pip.conf"
    printf '%s\n' "--secret=id=pip.conf,src=$WORK/pip.conf"
    ! authority > /dev/null || printf '%s\n' "--secret=id=ca.crt,src=$(authority)"
}

authority() { python3 -m pip config get global.cert 2>/dev/null || python3 -m pip config get :env:.cert 2>/dev/null; }

build() {
    buildah inspect --type image "$BASE" > /dev/null 2>&1 || base
    say "building the image"
    # shellcheck disable=SC2046  (options)
    buildah bud --quiet --pull-never --format docker --isolation chroot --no-cache --tag "$NAME" \
        --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" $(secrets) . > "$WORK/build.log" 2>&1 ||
        { tail -n 30 "$WORK/build.log" >&2; fail "the build failed"; }
    buildah rmi --prune > /dev/null # what bore the name before
}

unpack() {
    mkdir -p "$1/rootfs"
    buildah inspect --type image "$NAME" > "$1/config.json"
    container=$(buildah from --pull-never "$NAME")
    tar --create --directory "$(buildah mount "$container")" --xattrs --xattrs-include='*' . |
        tar --extract --directory "$1/rootfs" --xattrs --xattrs-include='*' --same-owner --preserve-permissions
    buildah rm "$container" > /dev/null
}

clean() { rm -rf "$WORK"; }

action=${1:-}
case $action in base | build | unpack | clean) ;; *) fail "image.sh base|build|unpack DIR|clean" ;; esac
[ "$(id -u)" -eq 0 ] || fail "image.sh needs root, for debootstrap and for the files of the image"
for program in buildah debootstrap; do
    command -v "$program" > /dev/null || fail "$program is missing: sh tools/packages.sh install buildah debootstrap crun"
done
shift
mkdir -p "$WORK"
"$action" "$@"
