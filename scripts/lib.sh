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
	rustc rust-src rust-clippy bindgen busybox-static
)
# What a Host built here adds: the sanitizers of Rust code want clang for the C code beside it.
CLANG_PACKAGES=(clang lld llvm)
# What MACHINE=bochs adds: a compiler for Bochs, its BIOS, and what makes a disc that boots.
BOCHS_PACKAGES=(g++ bochsbios vgabios isolinux syslinux-common xorriso)
BOCHS_OPTIONS=(
	--enable-cpu-level=6 --enable-x86-64 --enable-smp --enable-vmx=2 --enable-svm --enable-protection-keys --enable-cet
	--enable-avx --enable-evex --enable-amx --enable-uintr --enable-memtype
	--enable-repeat-speedups --enable-fast-function-calls --enable-handlers-chaining
	--with-nogui --disable-plugins --disable-docbook --disable-large-ramfile --disable-show-ips --disable-stats CFLAGS=-O2 CXXFLAGS=-O2
)

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LGUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lguest-book}
# A cached Host is named by everything that decides what is in it, so a change of the recipe makes another one.
recipe=$(printf '%s\n' 2 "$KERNEL_SERIES" "$TOOLCHAIN_SUITE" "$KERNEL_SUITE" "${ROOT_PACKAGES[@]}" | sha256sum)
host=$cache/host-$KERNEL_SERIES-${recipe:0:8}
logs=$cache/logs
root=$host/root
busybox=$root/usr/bin/busybox
# What `make bench` measures beside lguest, once it was asked for.
ruler=$host/ruler
# What a VM with a disk needs (scripts/vm --disk), one with a tap (--net), and programs that press on its memory, likewise.
disk=$host/disk
net=$host/net
pressure=$host/pressure
# Bochs is compiled again when anything that decides about it changes.
bochs=$host/bochs
bochs_patch=$top/scripts/bochs.patch
bochs_version=bochs-$(printf '%s\n' "${BOCHS_PACKAGES[@]}" "${BOCHS_OPTIONS[@]}" | cat - "$bochs_patch" | sha256sum | cut -c 1-8)

# HOST says which kernel the VM boots: debian (Debian's own), debug or small (built here).
HOST=${HOST:-debian}
# What a kernel built here is configured with; KASAN in Rust code wants the C side compiled by clang. It is named by that, too.
fragments=() kernel_compiler=() version=$HOST
case $HOST in
small) fragments=("$top/scripts/small.config") ;;
debug) fragments=("$top/scripts/small.config" "$top/scripts/debug.config") kernel_compiler=(LLVM=1) ;;
esac
[ ${#fragments[@]} -eq 0 ] || version+=-$(cat "${fragments[@]}" | sha256sum | cut -c 1-8)
# The build directory of that kernel, as seen in the build root, and its image.
build_inside=/usr/src/$version
kernel_source=/usr/src/linux
if [ -n "${LINUX_SRC:-}" ]; then
	LINUX_SRC=$(realpath "$LINUX_SRC")
	build_inside=/usr/src/$HOST-$(printf %s "$LINUX_SRC" | sha256sum | cut -c 1-8)
	kernel_source=/run/linux
fi
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

# lock FILE: one holder at a time; the kernel releases it when this process and all that it started have ended, however
# that comes about: what it works on is then really left alone.
lock() {
	mkdir -p "$(dirname "$1")"
	exec 9>"$1"
	flock --nonblock 9 && return
	say "waiting for another make that works there ($1)"
	flock 9
}

# open_cache WHAT: before WHAT is put into the cache; one that is complete need not be anybody's to write to.
open_cache() {
	umask 022 # others may use it, too
	{ mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null || die "the cache lacks $1, and cannot be written to: $cache" \
		"whoever owns it may run the same command" "or have a cache of your own: LGUEST_CACHE=directory make ..."
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

# The process group of what runs in the background for this script. It is asked to end, and made to.
job=''
end_job() {
	[ -n "$job" ] || return 0
	kill -TERM -- "-$job" 2>/dev/null || true
	for _ in 1 2 3 4 5 6 7 8; do
		kill -0 -- "-$job" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL -- "-$job" 2>/dev/null || true
	job=''
}

# heed_signals: from now on a signal ends this script and its job. Without that bash goes on when the command that it waits
# for has an end of its own. (Not for all scripts: a trap that comes while bash 5.2 reads a `$(` confuses it.)
stop() {
	[ -z "$job" ] || say "stopped; the next run takes it up again"
	end_job
	exit "$1"
}
heed_signals() {
	trap 'stop 130' INT
	trap 'stop 143' TERM HUP
}

# logged NAME COMMAND...: runs COMMAND with its output in a log (in the cache); when it fails, shows the end of that.
# COMMAND is a process group with all that it starts, and nothing of that survives it or this script: what bash and
# others put into the background is deaf to ^C.
logged() {
	local log=$logs/$1.log status=0
	shift
	mkdir -p "$logs"
	heed_signals
	set -m
	(set +m; "$@") </dev/null >"$log" 2>&1 &
	job=$!
	set +m
	wait "$job" 2>/dev/null || status=$?
	end_job
	[ $status -eq 0 ] && return
	tail -n 15 "$log" | sed 's/^/    | /' >&2
	die "this did not work" "the whole log: $log"
}

# own_log DIR NAME KIND: sets `log` to DIR/NAME.PID.KIND, in which no other run writes. DIR/NAME.KIND leads to the latest.
# Of the runs that have ended the last five keep theirs, and what else is called DIR/NAME.PID.
own_log() {
	local dir=$1 name=$2 kind=$3 kept=0 old pid
	log=$dir/$name.$$.$kind
	mkdir -p "$dir"
	: >"$log"
	ln -sfT "$name.$$.$kind" "$dir/$name.$kind" || true # another run was faster
	while read -r _ old; do
		pid=${old#"$name".} pid=${pid%%.*}
		[ -d "/proc/$pid" ] || [ $((++kept)) -le 5 ] || rm -f "$dir/$name.$pid".*
	done < <(find "$dir" -maxdepth 1 -regextype egrep -regex ".*/$name\.[0-9]+\.$kind" -printf '%T@ %f\n' | sort -rn)
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
