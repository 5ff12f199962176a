#!/bin/sh
# Installs overlay, or upgrades it in place: executable, systemd unit, completion, man page.
#
#   install.sh [options] [join PEER --token TOKEN …]
#
#   --url URL        take the executable from the folder URL (or $OVERLAY_URL), with its SHA256SUMS
#   --file FILE      take it from a file; --sha256 HEX says what it must be
#   --version V      this version only: from URL/V, and refused when the executable is another
#   --prefix DIR     where bin/overlay and share/ go (default: /usr/local)
#   --no-start       install the files and start nothing
#   --uninstall      run "overlay uninstall"; what follows is passed on (--force), but for --prefix
#
# A node hands this script out with its own address, key and SHA-256 in it (curl -fsSk
# --pinnedpubkey 'sha256//…' https://NODE:8286/install.sh | sh); then that node is the source.
# Nothing is replaced before the new executable was checked and has run once.
set -eu

PEER=''
PEER_PIN=''
PEER_PLATFORM=''
PEER_SHA256=''

say() { printf '%s\n' "$*" >&2; }
die() { say "Cannot $*"; exit 1; }
usage() { say "Cannot run install.sh: $1; see the head of the script for its options"; exit 2; }
have() { command -v "$1" >/dev/null 2>&1; }

main() {
  url=${OVERLAY_URL:-} file='' sha256='' version='' prefix=/usr/local start=yes staged='' made=''
  while [ $# -gt 0 ]; do
    case $1 in
      --url | --file | --sha256 | --version | --prefix)
        [ $# -ge 2 ] || usage "$1 needs a value"
        case $1 in
          --url) url=$2 ;; --file) file=$2 ;; --sha256) sha256=$2 ;;
          --version) version=${2#v} ;; --prefix) prefix=${2%/} ;;
        esac
        shift 2 ;;
      --no-start) start=no; shift ;;
      --uninstall) shift; uninstall "$@" ;;
      join) break ;;
      *) usage "unknown option \"$1\"" ;;
    esac
  done
  case $prefix in
    *[!A-Za-z0-9/._-]*) usage '--prefix holds a character beside letters, digits and "/._-"' ;;
    /*) ;; *) usage '--prefix needs an absolute path' ;;
  esac
  [ $# = 0 ] || [ $start = yes ] || usage "join needs a running agent, so not --no-start"
  platform=$(find_platform)
  check_machine
  trap cleanup EXIT
  trap 'exit 1' HUP INT TERM
  stage_files
  replace_files
  [ $start = no ] || start_agent
  if [ $# -gt 0 ]; then "$prefix/bin/overlay" "$@"; else say_next; fi
}

# "linux-x64", "linux-arm64-musl", …
find_platform() {
  [ "$(uname -s)" = Linux ] || die "install overlay on $(uname -s): it runs on Linux only"
  case $(uname -m) in
    x86_64 | amd64) arch=x64 ;; aarch64 | arm64) arch=arm64 ;;
    *) die "install overlay on $(uname -m): there are executables for x86_64 and aarch64" ;;
  esac
  libc=''
  for loader in /lib/ld-musl-*; do [ ! -e "$loader" ] || libc=-musl; done
  for loader in /lib/ld-linux-* /lib64/ld-linux-*; do [ ! -e "$loader" ] || libc=''; done
  echo "linux-$arch$libc"
}

# Whatever would stop the agent later on, told before anything is changed.
check_machine() {
  [ "$(id -u)" = 0 ] || die 'install overlay: not root; run it with "sudo sh" in place of "sh"'
  [ $start = no ] || { have systemctl && [ -d /run/systemd/system ]; } ||
    die 'start overlay: systemd does not run here; use --no-start, then run "overlay agent"'
  [ -c /dev/net/tun ] || { have modprobe && modprobe -q tun && [ -c /dev/net/tun ]; } || [ $start = no ] ||
    die 'start overlay: no /dev/net/tun; load the module "tun", or give the device to this container'
}

# fetch URL FILE
fetch() {
  if have curl; then
    if [ -n "$PEER" ]; then set -- "$@" -k --pinnedpubkey "$PEER_PIN"; else set -- "$@" -L; fi
    from=$1 to=$2; shift 2
    curl -fsS --retry 3 "$@" -o "$to" "$from" && return
  elif have wget; then
    from=$1 to=$2; set --
    if [ -n "$PEER" ]; then
      set -- --no-check-certificate
      # Without the pin, too, the SHA-256 in this script says what must have arrived.
      case $(wget --help 2>&1) in *pinnedpubkey*) set -- "$@" "--pinnedpubkey=$PEER_PIN" ;;
        *) say "This wget cannot pin the key of $PEER; the SHA-256 is checked all the same" ;;
      esac
    fi
    wget -q "$@" -O "$to" "$from" && return
  else
    die "fetch $1: neither curl nor wget is here; install one, or use --file"
  fi
  die "fetch $from: no complete answer; check the address, the network and the space in ${to%/*}"
}

# Puts every new file beside the place where it is to be, and checks the executable.
stage_files() {
  stage "$prefix/bin/overlay"
  new=$slot
  if [ -n "$file" ]; then
    [ -f "$file" ] || die "read $file: no such file"
    [ -n "$sha256" ] || sha256=$(sum_of "${file##*/}" "${file%"${file##*/}"}SHA256SUMS")
    cp "$file" "$new" || die "copy $file: see above; make room in $prefix/bin"
  elif [ -n "$url" ]; then
    [ -z "$version" ] || url=${url%/}/$version
    PEER=''
    fetch "${url%/}/SHA256SUMS" "$new"
    [ -n "$sha256" ] || sha256=$(sum_of "overlay-$platform" "$new")
    [ -n "$sha256" ] || die "install overlay: $url/SHA256SUMS does not list overlay-$platform"
    fetch "${url%/}/overlay-$platform" "$new"
  elif [ -n "$PEER" ]; then
    [ "$PEER_PLATFORM" = "$platform" ] ||
      die "install from $PEER: it has $PEER_PLATFORM and this machine is $platform; use --url, --file or another node"
    sha256=$PEER_SHA256
    fetch "https://$PEER/overlay-$platform" "$new"
  else
    usage 'no source; give --url, --file, or take install.sh from a node ("overlay token")'
  fi
  got=$(sha256sum <"$new") && got=${got%% *}
  [ -z "$sha256" ] || [ "$got" = "$sha256" ] ||
    die "install overlay: SHA-256 is $got and should be $sha256; the file is damaged or not the right one"
  chmod 755 "$new"
  is=$("$new" --version 2>&1) || die "run the new executable: $is"
  [ -z "$version" ] || [ "$is" = "overlay $version" ] ||
    die "install version $version: the source has ${is#overlay }"
  write "$unit" unit --executable "$prefix/bin/overlay"
  write "$prefix/share/man/man8/overlay.8" man
  write "$prefix/share/bash-completion/completions/overlay" completion bash
  write "$prefix/share/zsh/site-functions/_overlay" completion zsh
  write "$prefix/share/fish/vendor_completions.d/overlay.fish" completion fish
}

unit=/etc/systemd/system/overlay.service
# stage FILE: sets "slot", where its new content goes; directories are made, and listed in "made".
stage() {
  dir=${1%/*} name=${1##*/}
  while [ ! -d "$dir" ]; do made="$made $dir" dir=${dir%/*}; done
  mkdir -p "${1%/*}" || die "make ${1%/*}: see above"
  slot=${1%/*}/.$name.overlay-new staged="$staged $1"
}
# write FILE WORD…: its new content is what the new executable prints.
write() {
  stage "$1"
  shift
  "$new" "$@" >"$slot" || die "write $slot: see above; make room in ${slot%/*}"
  chmod 644 "$slot"
}
sum_of() { [ ! -f "$2" ] || awk -v n="$1" '$2 == n || $2 == "*" n { print $1 }' "$2"; }
cleanup() {
  for each in $staged; do rm -f "${each%/*}/.${each##*/}.overlay-new"; done
  # Those that are in use by now stay.
  for each in $made; do rmdir "$each" 2>/dev/null || :; done
}

# Renames: who runs the old executable goes on with it, and there is never half a file.
replace_files() {
  for each in $staged; do
    mv -f "${each%/*}/.${each##*/}.overlay-new" "$each" || die "replace $each: see above"
  done
  say "Installed $is in $prefix/bin"
}

start_agent() {
  # An agent that runs is replaced while its packets wait; see FileDescriptorStoreMax in the unit.
  if systemctl daemon-reload && systemctl enable -q overlay.service &&
    systemctl restart overlay.service; then
    say 'The agent runs; "overlay status" shows it'
  else
    die 'start overlay: see above, and "journalctl -u overlay"; the files are installed'
  fi
}

say_next() {
  [ $start = yes ] || { say "Nothing was started; \"$prefix/bin/overlay agent\" runs the agent"; return; }
  say 'Next: "overlay token" on one node prints the line for the others'
}

uninstall() {
  left=$#
  while [ "$left" -gt 0 ]; do
    if [ "$1" = --prefix ]; then
      [ "$left" -ge 2 ] || usage '--prefix needs a value'
      prefix=${2%/} left=$((left - 2))
      shift 2
    else
      set -- "$@" "$1"
      left=$((left - 1))
      shift
    fi
  done
  [ -x "$prefix/bin/overlay" ] || die "uninstall overlay: no $prefix/bin/overlay; is it installed with another --prefix?"
  exec "$prefix/bin/overlay" uninstall "$@"
}

main "$@"
