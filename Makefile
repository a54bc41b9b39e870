# Everything that the README tells you to type. `make help` lists it; `make V=1 ...` shows the commands.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Which kernel the VM boots: debian, Debian's own; debug, one built here that watches itself; small.
HOST ?= debian
# Which machine plays the CPU that it runs on: qemu, or bochs, slower and truer.
MACHINE ?= qemu
export HOST MACHINE KERNEL_SERIES LINUX_SRC
emulator := $(if $(filter bochs,$(MACHINE)),,qemu)
Q := $(if $(V),,@)

# Make's job server is closed to commands that are not make, and cargo complains of that: it sees none.
# Cargo is silent once it has been through: until then its progress is worth seeing.
cargo_quiet = $(if $(V),,$(if $(wildcard $(1)),--quiet))

# A directory of its own: cargo test builds the same program with other features.
tangle_dir := target/tangle
tangle_bin := $(tangle_dir)/debug/tangle
target := x86_64-unknown-linux-gnu
vmtests := target/vmtests/release/vmtests
# The code, where it is built, and the files that go into the VM, at their places there. With AS_OF=TAG all of it is that of
# the system as it stands at the end of a chapter, which has parts that nobody uses yet and lacks others. With SYSTEM=DIR it is that
# of a system whose code somebody has put into DIR/generated: the book with a lab, say. (scripts/system adds what is built with.)
# Its Launcher, with the libraries that it uses, is compiled in BUILT, a directory that such systems may share. What such a system has
# in common with the book's own is not built again, but taken from there.
ifdef SYSTEM
system := $(abspath $(SYSTEM))
state := $(system)
code := $(system)/generated
manifest := $(system)/Cargo.toml
BUILT ?= target/labs/built
built := $(BUILT)
built_guest := $(system)/guest
module := $(system)/module-$(HOST)
payload := $(system)/host-$(HOST)
like_book := --book target/host-$(HOST)
else ifdef AS_OF
state := target/states/$(AS_OF)
code := $(state)/generated
manifest := $(state)/Cargo.toml
built := target/states/built
built_guest := $(state)/guest
module := $(state)/module-$(HOST)
payload := $(state)/host-$(HOST)
unused := -Aunused
else
code := generated
manifest := Cargo.toml
built := target
built_guest := target/guest
module := target/module-$(HOST)
payload := target/host-$(HOST)
endif
export KRUSTFLAGS = $(unused)
export STATE = $(abspath $(state))
launcher := $(built)/$(target)/release/lguest
guest := $(built_guest)/release/guest
# What a compiler says of a line in generated/, it says of the chapter's line.
wrap := env -u MAKEFLAGS -u MFLAGS $(tangle_bin) wrap --out $(code) --objects $(module) --

# Who has put code into DIR has tangled; with AS_OF it is written first.
tangled := $(if $(SYSTEM),$(tangle_bin),tangle)
of_chapter = $(if $(SYSTEM),$(Q)scripts/system $(SYSTEM),$(if $(AS_OF),$(Q)scripts/state $(AS_OF)))

# What `make run` types to the Launcher, and what `make vm` runs.
GUEST ?= /guests/guest
GUEST_ARGS ?=
RUN ?= sh
EXTRA ?=
# As it was typed: make must not expand a $? in it.
export VM_COMMAND = $(value RUN)
PORT ?= 3000
GDB_PORT ?= 1234
TESTS ?=
SECONDS ?= 60

MDBOOK_VERSION := 0.5.4

##@ The system

tangle: ## Turn the chapters into code, in generated/
	$(Q)scripts/need cargo
	$(Q)env -u MAKEFLAGS -u MFLAGS cargo run $(call cargo_quiet,$(tangle_bin)) --target-dir $(tangle_dir) -p tangle --no-default-features --features cli --bin tangle

run: payload ## Boot the Host in QEMU or Bochs (MACHINE=) and a Guest in it, on this terminal
	$(Q)[ -e $(payload)/bin -a -e $(payload)/guests ] || { echo "$(if $(SYSTEM),In $(SYSTEM),As of $(AS_OF)) there is no Guest yet, or nobody to run it. Look around in the Host: make vm $(if $(SYSTEM),SYSTEM=$(SYSTEM),AS_OF=$(AS_OF))" >&2; exit 1; }
	$(Q)scripts/vm --root $(payload) --name run lguest run $(GUEST) $(GUEST_ARGS)

vm: payload ## Run a program in the Host: RUN='ls -l' EXTRA=directory-of-files TAPS=yes (with taps, and tcpdump)
	$(Q)scripts/vm --root $(payload) $(if $(EXTRA),--extra "$(EXTRA)") $(if $(TAPS),--net) sh -c "$$VM_COMMAND"

debug: payload ## As `make vm`, but wait for gdb before the first instruction
	$(Q)scripts/need gdb
	$(Q)scripts/debug-hints $(GDB_PORT)
	$(Q)scripts/vm --root $(payload) --gdb $(GDB_PORT) $(if $(EXTRA),--extra "$(EXTRA)") sh -c "$$VM_COMMAND"

##@ The book

book: mdbook ## Make the pages, in target/book
	$(Q)$(with_tools) mdbook build --dest-dir target/book

map: tangle ## Draw the map of the book anew: chapters/figures/map.svg
	$(Q)env -u MAKEFLAGS -u MFLAGS MAP=draw cargo test --quiet --test map >/dev/null

serve: mdbook ## Show the pages on http://localhost:3000 and follow every change (PORT=)
	$(Q)$(with_tools) $(serve)

watch: mdbook tangle ## As `make serve`, and after every change build it and run the tests that it reaches
	@echo 'The pages: http://localhost:$(PORT)'
	$(Q)env -u MAKEFLAGS -u MFLAGS $(with_tools) $(tangle_bin) watch --with '$(serve) >target/serve.log 2>&1'

editor: tangle ## Let `tangle lsp` understand the kernel module, too, and the labs that you have begun (tangle/README.md has the editor's settings)
	$(Q)scripts/need cargo rust-analyzer
	$(Q)scripts/editor $(wildcard $(if $(LAB),labs/$(LAB)-*.md labs/0$(LAB)-*.md))

##@ The labs

lab: lab-tool ## Begin a lab: your chapter comes to labs/work/ (LAB=1; later LAB= may be left out)
	$(Q)$(lab) start $(LAB)

lab-list: lab-tool ## Tell which labs there are, and how far you are
	$(Q)$(lab) list

lab-run: lab-system ## Build the system with your chapter, and boot it on this terminal (LAB=)
	$(Q)$(lab) run $(LAB)

lab-watch: lab-grader ## After every save of your chapter build it and run the tests of the task that you are at (LAB=)
	$(Q)$(lab) watch $(LAB)

grade: lab-grader ## Run all tests on your chapter, and say what it is worth (LAB= JSON=file CSV=file)
	$(Q)$(lab) grade $(LAB) $(if $(JSON),--json "$(JSON)") $(if $(CSV),--csv "$(CSV)")

grade-all: lab-grader ## Grade a class, each confined: DIR=directory of NAME.md or NAME/NN-lab.md (LAB= JOBS=2 OUT= MEMORY=3G MINUTES=40)
	$(Q)[ -n "$(DIR)" ] || { echo "error: what was handed in? make grade-all DIR=directory" >&2; exit 2; }
	$(Q)$(lab) grade-all "$(DIR)" $(if $(LAB),--lab "$(LAB)") $(if $(JOBS),--jobs "$(JOBS)") $(if $(OUT),--out "$(OUT)") \
		$(if $(MEMORY),--memory "$(MEMORY)") $(if $(MINUTES),--time "$(MINUTES)") $(if $(KEEP),--keep) $(if $(filter yes,$(UNCONFINED)),--unconfined)

hint: lab-tool ## Help, a little more each time (LAB= TASK=)
	$(Q)$(lab) hint $(LAB) $(if $(TASK),--task "$(TASK)")

lab-diff: lab-tool ## Show what your chapter changes in the files of the system (LAB=)
	$(Q)$(lab) diff $(LAB)

lab-reset: lab-tool ## Put your chapter aside, under another name, and begin anew (LAB=)
	$(Q)$(lab) reset $(LAB)

lab-solution: lab-tool ## Show how somebody else did it, once your chapter has all points (LAB=; teachers: TEACHER=1)
	$(Q)$(lab) solution $(LAB) $(if $(TEACHER),--teacher)

lab-handout: lab-tool ## Copy the repository for students, without the solutions, to DIR=
	$(Q)[ -n "$(DIR)" ] || { echo "error: where to? make lab-handout DIR=directory" >&2; exit 2; }
	$(Q)$(lab) handout "$(DIR)"

lab-new: tangle ## Write the beginnings of a lab of your own: NAME=a-name TITLE="What it is about"
	$(Q)[ -n "$(NAME)" ] || { echo "error: what is it called? make lab-new NAME=a-name TITLE='What it is about'" >&2; exit 2; }
	$(Q)$(tangle_bin) lab new $(NAME) $(if $(TITLE),--title "$(TITLE)")

lab-prove: lab-grader ## See that the labs are what they say: starters fail, solutions pass, wrong ones fail their tests (LAB= ONLY=/wrong; WRONG=3 by lot)
	$(Q)$(lab) prove $(LAB) $(ONLY:%=--only %) $(if $(WRONG),--wrong $(WRONG)) $(if $(LOT),--lot $(LOT))

##@ Quality

test: tangle ## Run every test, here and in the VM (TESTS=part-of-a-name)
	$(Q)scripts/need cargo qemu rust-analyzer
	$(Q)$(MAKE) payload vmtests mdbook
	$(Q)scripts/test $(TESTS)

logic: $(tangled) ## Run the unit tests of the module's pure files, here (TESTS=part-of-a-name, AS_OF=)
	$(Q)scripts/need cargo
	$(of_chapter)
	$(Q)scripts/logic $(TESTS)

cases: payload vmtests ## Run cases in the VM by name, quickly: TESTS='timer/ halt/' (DISKS=512M: it can swap; SEED= of fuzz/...)
	$(Q)scripts/put $(vmtests) target/vmtests/payload
	$(Q)MODULE_ARGS=fixed=1 scripts/vm --root $(payload) --extra target/vmtests/payload $(if $(DISKS),--disk $(DISKS)) --name cases sh -c "LGUEST_KO=/modules/lguest.ko FUZZ_SEED=$(SEED) /extra/vmtests $(TESTS)" </dev/null

states: tangle ## Build and boot the system as of every chapter that promises to run, or AS_OF one
	$(Q)env -u MAKEFLAGS -u MFLAGS STATES=all cargo test --quiet --test states -- --nocapture --test-threads=1

test-debug: ## The tests in the VM, on a Host that checks itself: HOST=debug
	$(Q)$(MAKE) HOST=debug payload vmtests
	$(Q)HOST=debug scripts/test --vm $(TESTS)

test-bochs: ## The tests in the VM, on another program's idea of an x86: MACHINE=bochs
	$(Q)$(MAKE) MACHINE=bochs payload vmtests
	$(Q)MACHINE=bochs scripts/test --vm $(TESTS)

teeth: ## Take each rule out of the module and see that a test notices (TESTS=part-of-a-name)
	$(Q)scripts/need cargo qemu
	$(Q)$(MAKE) payload vmtests
	$(Q)env -u MAKEFLAGS -u MFLAGS cargo test --quiet --test teeth -- --include-ignored --nocapture --test-threads=1 $(TESTS)

crowd: tangle ## Sixteen busy Guests on a Host of 512 MiB that swaps, for SECONDS= (600)
	$(Q)scripts/need cargo qemu
	$(Q)$(MAKE) payload vmtests
	$(Q)env -u MAKEFLAGS -u MFLAGS CROWD_SECONDS=$(if $(filter file,$(origin SECONDS)),600,$(SECONDS)) cargo test --quiet --test crowd -- --include-ignored --nocapture

soak: tangle ## What takes hours: four CPUs beside lguest stat, ten thousand lives, a thousand kills (TESTS=part-of-a-name, SECONDS=1800)
	$(Q)scripts/need cargo qemu
	$(Q)$(MAKE) payload vmtests
	$(Q)env -u MAKEFLAGS -u MFLAGS SOAK_SECONDS=$(if $(filter file,$(origin SECONDS)),1800,$(SECONDS)) KILLS=1000 \
		cargo test --quiet --test soak --test disks -- --include-ignored --nocapture --test-threads=1 $(or $(TESTS),four_cpus lives killed_launcher)

check-host: ## Say what this very machine has of which the module must know, and whether it would run here
	@scripts/check-host

bench: payload ruler ## Count what every operation costs, here and elsewhere, and redraw the book's table and plot (WHERE=hypercall: in which functions)
	$(Q)scripts/bench $(if $(WHERE),where $(WHERE),book)

bench-compare: payload ruler ## The same, compared with the figures that the book has
	$(Q)scripts/bench compare

lint: tangle ## Compile with every warning an error, let clippy and shellcheck read the code, and see that the prose keeps its promises
	$(Q)scripts/lint

fuzz: payload vmtests ## Random Guests, Launchers and chapters, each target for SECONDS= (60): TARGET='hypercalls device' (FROM=seed)
	$(Q)scripts/put $(vmtests) target/vmtests/payload
	$(Q)FROM=$(FROM) scripts/fuzz $(SECONDS) $(TARGET)

fmt: tangle ## Format the code, that of the chapters too
	$(Q)$(wrap) scripts/fmt

##@ Housekeeping

cache-info: ## Say what lies in the cache
	$(Q)scripts/host info

clean: ## Remove what was built here: target/ and generated/, not the cache
	$(Q)rm -rf target
	$(Q)find generated -mindepth 1 ! -name README.md ! -name .gitignore -delete

clean-cache: ## Remove the cache: Debian's compilers, the kernel, mdBook
	$(Q)scripts/host clean

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nAS_OF=L010 with run, vm or debug: the system as it stands at the end of that chapter (make states).\n'
	@printf 'GUEST=/guests/guest GUEST_ARGS="..." with run: what the Launcher boots, and its options (lguest run --help).\n'
	@printf 'HOST=debian|debug|small chooses the kernel; MACHINE=qemu|bochs, CPU=, SMP=, MEM= and ACCEL= the machine (scripts/vm --help).\n'

# --- Parts ------------------------------------------------------------------------------------------------------

# What runs here and what runs there are built side by side.
payload: $(tangled)
	$(Q)scripts/need cargo $(emulator)
	$(of_chapter)
	$(Q)$(MAKE) -j2 parts

# Those that there are. make looks for them anew, since by now the code is there.
part = $(if $(wildcard $(code)/$(1)),$(2))
parts: $(call part,launcher/main.rs,launcher) $(call part,guest/Cargo.toml,guest) $(call part,module/Kbuild,module)

$(tangle_bin):
	$(Q)$(MAKE) tangle

# Static, since the VM has no C library. What the book's own was linked with need not be compiled again for other systems.
launcher: | $(tangle_bin)
	$(if $(SYSTEM),$(Q)[ -d $(built)/$(target) -o ! -d target/$(target) ] || { mkdir -p $(built) && cp -a target/$(target) $(wildcard target/release) $(built); })
	$(Q)+scripts/part $(like_book) --lock $(built)/.part.lock launcher $(code) $(launcher) $(payload) \
		$(wrap) cargo build $(call cargo_quiet,$(launcher)) --release --bin lguest --target $(target) \
		--manifest-path $(manifest) --target-dir $(built) \
		--config 'target.$(target).rustflags=["-Ctarget-feature=+crt-static"$(unused:%=,"%")]'

guest: | $(tangle_bin)
	$(Q)+scripts/part $(like_book) guest $(code) $(guest) $(payload) \
		$(wrap) cargo build $(call cargo_quiet,$(guest)) --release --manifest-path $(code)/guest/Cargo.toml --target-dir $(built_guest) \
		--config 'build.rustflags=["-Cforce-frame-pointers=yes"$(unused:%=,"%")]'

module: | $(tangle_bin)
	$(Q)scripts/part $(like_book) module $(code) $(module)/lguest.ko $(payload) \
		$(wrap) scripts/module-build $(code)/module $(module)

# And a module for tests, which goes beside the others, but nobody loads it unasked: it plays what only KVM does to a
# CPU. (It is for tests of the book's own system.)
vmtests: $(if $(SYSTEM),,test-modules) | $(tangle_bin)
	$(Q)cd tests/vm && env -u MAKEFLAGS -u MFLAGS $(abspath $(tangle_bin)) wrap -- cargo build $(call cargo_quiet,$(vmtests)) --release --target-dir ../../target/vmtests

test-modules: | $(tangle_bin)
	$(Q)scripts/module-build tests/lender target/lender-$(HOST)
	$(Q)[ ! -e target/lender-$(HOST)/lender.ko ] || scripts/put target/lender-$(HOST)/lender.ko $(payload)/tests

# The program behind the labs; what a system of a lab is built with; what tests it.
lab := env -u MAKEFLAGS -u MFLAGS $(tangle_dir)/debug/lab
lab-tool:
	$(Q)scripts/need cargo
	$(Q)env -u MAKEFLAGS -u MFLAGS cargo build $(call cargo_quiet,$(tangle_dir)/debug/lab) --target-dir $(tangle_dir) -p lab
lab-system: lab-tool payload
lab-grader: lab-system vmtests
	$(Q)scripts/put $(vmtests) target/vmtests/payload

# QEMU's plugin and what draws, for this machine; what is measured, for the VM. QEMU loads only a plugin that was made for its
# version of the interface: 1 before QEMU 9, 2 since.
plugin_version = $(shell qemu-system-x86_64 --version | sed -nE 's/.*version ([0-9]+).*/\1/p' | awk '{ print $$1 < 9 ? 1 : 2 }')
bench_cargo = cd tests/bench && QEMU_PLUGIN_VERSION=$(plugin_version) env -u MAKEFLAGS -u MFLAGS ../../$(tangle_bin) wrap -- \
	cargo build $(call cargo_quiet,target/bench/release/ruler) --release --target-dir ../../target/bench
ruler: | $(tangle_bin)
	$(Q)scripts/need cargo qemu
	$(Q)$(bench_cargo) --package ruler-plugin --package ruler
	$(Q)$(bench_cargo) --bin measured --features in-vm --target $(target) \
		--config 'target.$(target).rustflags=["-Ctarget-feature=+crt-static","-Crelocation-model=static"]'

# mdBook comes from crates.io, once, into the cache; the preprocessor is the book's own.
mdbook:
	$(Q)scripts/need cargo
	$(Q)scripts/mdbook $(MDBOOK_VERSION) >/dev/null
	$(Q)env -u MAKEFLAGS -u MFLAGS cargo build $(call cargo_quiet,target/debug/mdbook-tangle) -p tangle --bin mdbook-tangle
serve := mdbook serve --dest-dir target/book --port $(PORT)
with_tools = PATH="$(CURDIR)/target/debug:$$(scripts/mdbook $(MDBOOK_VERSION)):$$PATH"

.PHONY: lab lab-list lab-run lab-watch grade grade-all hint lab-diff lab-reset lab-solution lab-handout lab-new lab-prove lab-tool lab-system lab-grader \
	tangle run vm debug book map serve watch test logic cases states test-debug test-bochs teeth crowd check-host bench bench-compare lint fuzz fmt cache-info clean clean-cache help \
	payload parts launcher guest module vmtests test-modules ruler mdbook
