# What the other scripts share: names, places, messages, steps. Sourced by bash, never run.
# shellcheck shell=bash disable=SC2034

set -euo pipefail

# The one place that names the kernel. Which 7.3.y is current, the archive says.
KERNEL_SERIES=${KERNEL_SERIES:-7.3}
# The Debian release whose compilers built that kernel, and the suite that carries it.
TOOLCHAIN_SUITE=trixie
KERNEL_SUITE=trixie-backports

# What the build root holds: a shell, the tools that the kernel's Makefiles call, the compilers, and the VM's
# one program.
ROOT_PACKAGES=(
	base-files libc-bin bash dash coreutils diffutils findutils grep sed mawk gzip tar xz-utils
	make gcc libc6-dev libelf-dev libssl-dev bc bison flex cpio kmod perl-base python3-minimal pahole
	rustc rust-src bindgen busybox-static
)
# What a Host built here adds: the sanitizers of Rust code want clang for the C code beside it.
CLANG_PACKAGES=(clang lld llvm)

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LGUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lguest-book}
# A cached Host is named by everything that decides what is in it, so a change of the recipe makes another one.
recipe=$(printf '%s\n' 2 "$KERNEL_SERIES" "$TOOLCHAIN_SUITE" "$KERNEL_SUITE" "${ROOT_PACKAGES[@]}" | sha256sum)
host=$cache/host-$KERNEL_SERIES-${recipe:0:8}
root=$host/root
busybox=$root/usr/bin/busybox

# HOST says which kernel the VM boots: debian (Debian's own), debug or small (built here).
HOST=${HOST:-debian}
# The build directory of that kernel, as seen in the build root, and its image.
build_inside=/usr/src/$HOST
kernel_source=/usr/src/linux
if [ -n "${LINUX_SRC:-}" ]; then
	kernel_source=$(realpath "$LINUX_SRC")
	build_inside+=-$(printf %s "$kernel_source" | sha256sum | cut -c 1-8)
fi
# What a kernel built here is configured with; KASAN in Rust code wants the C side compiled by clang.
fragments=() kernel_compiler=() version=$HOST
case $HOST in
small) fragments=("$top/scripts/small.config") ;;
debug) fragments=("$top/scripts/small.config" "$top/scripts/debug.config") kernel_compiler=(LLVM=1) ;;
esac
[ ${#fragments[@]} -eq 0 ] || version+=-$(cat "${fragments[@]}" | sha256sum | cut -c 1-8)
build_dir=$root$build_inside
image=$host/$(basename "$build_inside").vmlinuz

say() { printf '%s\n' "$*" >&2; }

die() {
	say "error: $1"
	shift
	for hint in "$@"; do say "  $hint"; done
	exit 1
}

# As a filter: what is said of a line in generated/ (or of the state in $STATE) is said of the chapter's line, once tangle is built.
in_chapters() {
	local tangle=$top/target/tangle/debug/tangle
	if [ -x "$tangle" ]; then
		if [ -n "${STATE:-}" ]; then
			exec "$tangle" wrap --book "$top" --out "$STATE/generated" --objects "$STATE/module-$HOST"
		fi
		exec "$tangle" wrap --book "$top" --objects "$top/target/module-$HOST"
	else
		exec cat
	fi
}

# Prints the comment at the top of the calling script: its --help.
usage() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; }

# lock FILE: one holder at a time; the kernel releases it when this process ends, however it ends.
lock() {
	mkdir -p "$(dirname "$1")"
	exec 9>"$1"
	flock --nonblock 9 && return
	say "waiting for another make that holds $1"
	flock 9
}

# mirror SUITE: where this machine's apt takes SUITE from, or else its own Debian release.
mirror() {
	if [ -n "${DEBIAN_MIRROR:-}" ]; then
		echo "$DEBIAN_MIRROR"
		return
	fi
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		awk -v suite="$1" -v own="$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" '
			$3 != "main" || $1 ~ /^cdrom:/ { next }
			$2 == suite && !exact { exact = $1 }
			$2 == own && !base { base = $1 }
			END { print exact ? exact : base }'
}

# logged NAME COMMAND...: runs COMMAND with its output in a log in the cache; when it fails, shows the end of that.
logged() {
	local log=$cache/logs/$1.log status
	shift
	mkdir -p "$cache/logs"
	# Not `if "$@"`: that would switch `set -e` off inside.
	set +e
	(set -e; "$@") >"$log" 2>&1 9>&-
	status=$?
	set -e
	[ $status -eq 0 ] && return
	tail -n 15 "$log" | sed 's/^/    | /' >&2
	die "this did not work" "the whole log: $log"
}

# step NAME TEXT COMMAND...: runs COMMAND once in the life of the cached Host. It must be able to start again
# after an interruption; only a step that came to its end is remembered.
step() {
	local name=$1 stamp=$host/done/$1 text=$2
	shift 2
	[ -e "$stamp" ] && return
	say "  [$((SECONDS / 60)):$(printf %02d $((SECONDS % 60)))] $text ..."
	logged "$name" "$@"
	mkdir -p "$host/done"
	touch "$stamp"
}
