#!/bin/sh
# Programs from the distribution, installed only when they are missing and never left running as services:
#   packages.sh need PROGRAM:PACKAGE...   install the packages of the programs that are not there
#   packages.sh install PACKAGE...        install these packages
# As root, or through sudo; otherwise one sentence says what to install.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
FRR=/usr/lib/frr:/usr/libexec/frr

say() { echo "$*" >&2; }
fail() { say "$*"; exit 1; }
has() { PATH=$PATH:$FRR command -v "$1" >/dev/null 2>&1; }

install_packages() {
    command -v apt-get >/dev/null 2>&1 ||
        fail "These packages (by their Debian names) have to be installed first: $*"
    if [ "$(id -u)" -eq 0 ]; then
        as_root "$@"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        sudo -n sh "$0" as-root "$@"
    elif command -v sudo >/dev/null 2>&1 && [ -t 0 ]; then
        say "$* must be installed; sudo may ask for your password"
        sudo sh "$0" as-root "$@"
    else
        fail "Missing, and only root can install it: apt-get install --no-install-recommends $*"
    fi
}

installed() { dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u; }

as_root() {
    work=$(mktemp -d)
    policy=
    trap clean_up EXIT
    trap 'exit 130' HUP INT TERM
    # Maintainer scripts ask policy-rc.d before they start a service; 101 forbids it.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
    fi
    installed > "$work/before"
    say "asking the distribution for its list of packages"
    apt-get update -qq || say "apt-get update failed; going on with the list that is there"
    say "installing $*"
    status=0
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 \
        -o Dpkg::Use-Pty=0 "$@" > "$work/log" 2>&1 < /dev/null || status=$?
    installed > "$work/after"
    comm -13 "$work/before" "$work/after" > "$work/added"
    silence_services
    if [ "$status" -ne 0 ]; then
        tail -n 15 "$work/log" >&2
        fail "apt-get could not install $*"
    fi
}

# Units of the packages that were added just now, and of no others.
silence_services() {
    while read -r package; do
        units=$(dpkg-query --listfiles "$package" |
            sed -n 's,.*/systemd/system/\([^/@]*\.\(service\|socket\|timer\)\)$,\1,p' | sort -u)
        for unit in $units; do
            if [ -d /run/systemd/system ]; then
                systemctl disable --quiet --now "$unit"
            else # in an image, say: the helper that enabled it, which speaks to maintainer scripts only
                DPKG_MAINTSCRIPT_PACKAGE=$package deb-systemd-helper disable "$unit"
            fi >/dev/null 2>&1 || true
        done
    done < "$work/added"
}

clean_up() {
    [ -z "$policy" ] || rm -f "$policy"
    rm -rf "$work"
}

need() {
    missing=
    for pair in "$@"; do
        package=${pair#*:}
        case " $missing " in *" $package "*) continue ;; esac
        has "${pair%%:*}" || missing="$missing $package"
    done
    # shellcheck disable=SC2086  (a list of words)
    [ -z "$missing" ] || install_packages $missing
}

action=${1:?need, install or as-root}
shift
case $action in
    need) need "$@" ;;
    install) install_packages "$@" ;;
    as-root) as_root "$@" ;;
    *) fail "no action $action" ;;
esac
