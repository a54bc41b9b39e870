//! Lab 12: A debugger over the console. Everything is typed to the prompt, with numbers that nobody has seen before.

use crate::harness::{Case, Outcome, check, same};
use crate::labs::{Running, random, spawn};

/// Where the instructions of `stages` are, from its beginning.
mod at {
    pub const INT3: u64 = 17;
    pub const COUNT: u64 = 18;
    pub const LOOP: u64 = 22;
    pub const DECREMENT: u64 = 25;
    pub const JUMP: u64 = 28;
    pub const WRITE: u64 = 30;
    pub const SYSCALL: u64 = 52;
    pub const END: u64 = 54;
    pub const EXIT: u64 = 57;
    pub const LAST_SYSCALL: u64 = 62;
    pub const FIRST: [u64; 5] = [0, 7, 10, 14, INT3];
}

/// The bytes of its code that no linker decides on.
const CODE: [(u64, &str); 4] = [
    (0, "4c 8d 05"),
    (
        7,
        "48 89 f8 48 0f af c6 49 89 00 cc 48 8d 4a 01 48 01 cb 48 ff c9 75 f8 b8 01 00 00 00",
    ),
    (
        47,
        "ba 0d 00 00 00 0f 05 49 8b 38 b8 3c 00 00 00 0f 05 0f 0b",
    ),
    (35, "bf 01 00 00 00 48 8d 35"),
];

const NOT_ITS: &str = "not the program's\n";

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("stops", || {
            let mut shell = Shell::start()?;
            let start = shell.debug()?;
            // Nothing of it has run.
            for (name, value) in shell.registers()? {
                let fresh = ["rip", "rsp", "rflags"].contains(&name.as_str());
                check!(
                    fresh || value == 0,
                    "{name} before the first instruction: expected 0x0, got {value:#x}"
                );
            }
            shell.stops("go", start + at::INT3 + 1, "int3")?;
            shell.ends("go", "Stages done.\nstages: ended with status 0\n")?;
            // An int3 opens the prompt by itself. Nobody hurries.
            shell.type_line("stages")?;
            let stopped = shell.answer(DEBUG)?;
            same(
                "stages, without `debug`",
                stopped,
                format!("stopped at {:#x}: int3\n", start + at::INT3 + 1),
            )?;
            std::thread::sleep(std::time::Duration::from_millis(900));
            shell.ends(
                "kill",
                &format!("stages: killed: trap 3 at {:#x}\n", start + at::INT3 + 1),
            )?;
            // And killed at its beginning.
            shell.debug()?;
            shell.ends("kill", &format!("stages: killed: trap 3 at {start:#x}\n"))?;
            shell.lives()?;
            // The end of the input ends it all.
            shell.debug()?;
            let ran = shell.running.end()?;
            same(
                "the Launcher's status after the end of the input",
                ran.status,
                Some(0),
            )
        }),
        Case::new("looks", || {
            let mut shell = Shell::start()?;
            let start = shell.debug()?;
            for (offset, bytes) in CODE {
                let got = shell.memory(start + offset, (bytes.len() as u64 + 1) / 3)?;
                same(
                    &format!("the code at {offset} from the beginning"),
                    hex(&got).as_str(),
                    bytes,
                )?;
            }
            // Any part of it is that part.
            let all = shell.memory(start, 66)?;
            for _ in 0..4 {
                let (from, len) = (random() % 40, 1 + random() % 26);
                let got = shell.memory(start + from, len)?;
                let want = &all[from as usize..][..len as usize];
                same(
                    &format!("{len} bytes at {from} from the beginning"),
                    hex(&got),
                    hex(want),
                )?;
            }
            let names = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags";
            let registers = shell.registers()?;
            let got: Vec<_> = registers.iter().map(|(name, _)| name.as_str()).collect();
            same("the names of the registers", got.join(" ").as_str(), names)?;
            same("rip", shell.register("rip")?, start)?;
            let flags = shell.register("rflags")?;
            same("the trap flag in rflags", flags & 1 << 8, 0)?;
            // The stack is the program's, and as large as it is. Below its end there is nothing yet.
            let stack = shell.register("rsp")?;
            same(
                "the first word of the stack",
                shell.memory(stack, 8)?,
                vec![0; 8],
            )?;
            // At its int3 the address in R8 leads to eight bytes of its own.
            shell.stops("go", start + at::INT3 + 1, "int3")?;
            let product = shell.register("r8")?;
            same("what R8 leads to", shell.memory(product, 8)?, vec![0; 8])
        }),
        Case::new("refuses", || {
            let mut shell = Shell::start()?;
            let start = shell.debug()?;
            let stack = shell.register("rsp")? & !0xfff;
            let kernel = 0xffff_ffff_8010_0000 + random() % 0x8000;
            for (address, len) in [
                (kernel, 1 + random() % 200),
                (0, 8),
                (random() % 4096, 16),
                // Over the end of the stack, into nothing.
                (stack + 0x1000 - 1 - random() % 100, 101 + random() % 100),
                (1 << 47, 1),
                ((1 << 47) + random() % (1 << 62), 16),
                (u64::MAX - random() % 100, 101 + random() % 100),
            ] {
                let got = shell.says(&format!("mem {address:#x} {len}"))?;
                same(&format!("mem {address:#x} {len}"), got.as_str(), NOT_ITS)?;
            }
            for line in ["what is this", "mem", "mem x 1", "mem 0x 1", "peek 1 2"] {
                same(line, shell.says(line)?.as_str(), "what?\n")?;
            }
            same("an empty line", shell.says("")?.as_str(), "")?;
            shell.stops("go", start + at::INT3 + 1, "int3")?;
            shell.ends("go", "Stages done.\nstages: ended with status 0\n")?;
            shell.lives()
        }),
        Case::new("sets", || {
            let mut shell = Shell::start()?;
            for _ in 0..2 {
                let start = shell.debug()?;
                let (one, other) = (random(), random());
                shell.quiet(&format!("set rdi {one:#x}"))?;
                shell.quiet(&format!("set rsi {other}"))?;
                let mut want = shell.registers()?;
                for (name, value) in &mut want {
                    if !["rip", "rsp", "rflags", "rdi", "rsi", "rdx"].contains(&name.as_str()) {
                        *value = random();
                        shell.quiet(&format!("set {name} {value:#x}"))?;
                    }
                }
                same("the registers that were set", shell.registers()?, want)?;
                shell.stops("go", start + at::INT3 + 1, "int3")?;
                let product = one.wrapping_mul(other);
                same(
                    "rax, the product of rdi and rsi",
                    shell.register("rax")?,
                    product,
                )?;
                let place = shell.register("r8")?;
                same(
                    "the product in memory",
                    hex(&shell.memory(place, 8)?),
                    hex(&product.to_le_bytes()),
                )?;
                // What must not be set.
                for rip in [
                    0xffff_ffff_8010_0000,
                    1 << 63,
                    0x8000_0000_0000,
                    random() % 4096,
                    u64::MAX,
                ] {
                    let got = shell.says(&format!("set rip {rip:#x}"))?;
                    same(&format!("set rip {rip:#x}"), got.as_str(), NOT_ITS)?;
                }
                for line in [
                    "set rflags 0x3200",
                    "set rax",
                    "set rax y",
                    "set ray 1",
                    "set",
                ] {
                    same(line, shell.says(line)?.as_str(), "what?\n")?;
                }
                // Once more from the multiplication, with another number.
                let other = random();
                shell.quiet(&format!("set rsi {other:#x}"))?;
                shell.quiet(&format!("set rip {:#x}", start + at::FIRST[1]))?;
                shell.stops("go", start + at::INT3 + 1, "int3")?;
                let product = one.wrapping_mul(other);
                same(
                    "rax, after the multiplication was made again",
                    shell.register("rax")?,
                    product,
                )?;
                shell.ends(
                    "go",
                    &format!("Stages done.\nstages: ended with status {product}\n"),
                )?;
            }
            shell.lives()
        }),
        Case::new("steps", || {
            let mut shell = Shell::start()?;
            let start = shell.debug()?;
            let rounds = 1 + random() % 3;
            let (one, other) = (random(), random());
            shell.quiet(&format!("set rdi {one:#x}"))?;
            shell.quiet(&format!("set rsi {other:#x}"))?;
            shell.quiet(&format!("set rdx {rounds}"))?;
            for offset in &at::FIRST[1..] {
                shell.stops("step", start + offset, "step")?;
                same(
                    "rax",
                    shell.register("rax")?,
                    match offset {
                        7 => 0,
                        10 => one,
                        _ => one.wrapping_mul(other),
                    },
                )?;
                same(
                    "the trap flag in rflags",
                    shell.register("rflags")? & 1 << 8,
                    0,
                )?;
            }
            // A step onto an int3 of its own is that int3.
            shell.stops("step", start + at::COUNT, "int3")?;
            shell.stops("step", start + at::LOOP, "step")?;
            for left in (0..=rounds).rev() {
                same("rcx in the loop", shell.register("rcx")?, left + 1)?;
                shell.stops("step", start + at::DECREMENT, "step")?;
                shell.stops("step", start + at::JUMP, "step")?;
                let next = if left > 0 { at::LOOP } else { at::WRITE };
                shell.stops("step", start + next, "step")?;
            }
            same(
                "rbx after the loop",
                shell.register("rbx")?,
                (1..=rounds + 1).sum(),
            )?;
            // No step is left over.
            let status = one.wrapping_mul(other);
            shell.ends(
                "go",
                &format!("Stages done.\nstages: ended with status {status}\n"),
            )?;
            // Nor for the next one, which is not stepped.
            same(
                "hello",
                shell.says_to_end("hello")?.as_str(),
                "Hello from ring 3.\nhello: ended with status 0\n",
            )?;
            shell.lives()
        }),
        Case::new("system-call", || {
            let mut shell = Shell::start()?;
            let start = shell.debug()?;
            let status = random();
            shell.stops("go", start + at::COUNT, "int3")?;
            let place = shell.register("r8")?;
            for offset in [
                at::LOOP,
                at::DECREMENT,
                at::JUMP,
                at::WRITE,
                35,
                40,
                47,
                at::SYSCALL,
            ] {
                shell.stops("step", start + offset, "step")?;
            }
            let got = shell.says("step")?;
            let want = format!("Stages done.\nstopped at {:#x}: step\n", start + at::END);
            same("a step over the system call", got, want)?;
            same("what the call returned in rax", shell.register("rax")?, 13)?;
            same(
                "the trap flag in rflags after the call",
                shell.register("rflags")? & 1 << 8,
                0,
            )?;
            shell.quiet(&format!("set r8 {place:#x}"))?;
            shell.stops("step", start + at::EXIT, "step")?;
            shell.quiet(&format!("set rdi {status}"))?;
            shell.stops("step", start + at::LAST_SYSCALL, "step")?;
            shell.ends("step", &format!("stages: ended with status {status}\n"))?;
            // Who makes the call again makes it again: by going back to it, and on.
            let start = shell.debug()?;
            shell.quiet(&format!("set rip {:#x}", start + at::WRITE))?;
            for offset in [35, 40, 47, at::SYSCALL] {
                shell.stops("step", start + offset, "step")?;
            }
            shell.quiet("set rdx 6")?;
            let got = shell.says("step")?;
            same(
                "six bytes of the text, and a stop",
                got,
                format!("Stagesstopped at {:#x}: step\n", start + at::END),
            )?;
            shell.ends(
                "kill",
                &format!("stages: killed: trap 3 at {:#x}\n", start + at::END),
            )?;
            shell.lives()
        }),
        Case::new("breaks", || {
            let mut shell = Shell::start()?;
            let start = shell.debug()?;
            let rounds = 2 + random() % 4;
            let (one, other) = (random() % 1000, random() % 1000);
            shell.quiet(&format!("set rdi {one}"))?;
            shell.quiet(&format!("set rsi {other}"))?;
            shell.quiet(&format!("set rdx {rounds}"))?;
            shell.quiet(&format!("break {:#x}", start + at::DECREMENT))?;
            shell.stops("go", start + at::COUNT, "int3")?;
            let mut sum = 0;
            for left in (1..=rounds + 1).rev() {
                sum += left;
                shell.stops("go", start + at::DECREMENT, "breakpoint")?;
                same("rcx at the breakpoint", shell.register("rcx")?, left)?;
                same("rbx at the breakpoint", shell.register("rbx")?, sum)?;
            }
            shell.ends(
                "go",
                &format!("Stages done.\nstages: ended with status {}\n", one * other),
            )?;
            // Two of them, set in decimal, and steps in between.
            let start = shell.debug()?;
            shell.quiet(&format!("set rdx {rounds}"))?;
            shell.quiet(&format!("break {}", start + at::LOOP))?;
            shell.quiet(&format!("break {}", start + at::JUMP))?;
            shell.stops("go", start + at::COUNT, "int3")?;
            for _ in 0..2 {
                shell.stops("go", start + at::LOOP, "breakpoint")?;
                shell.stops("step", start + at::DECREMENT, "step")?;
                shell.stops("go", start + at::JUMP, "breakpoint")?;
            }
            // None at what is not the program's, nor a ninth.
            for address in [
                0xffff_ffff_8010_0000 + random() % 4096,
                8,
                1 << 47,
                u64::MAX,
            ] {
                let got = shell.says(&format!("break {address:#x}"))?;
                same(&format!("break {address:#x}"), got.as_str(), NOT_ITS)?;
            }
            for offset in [35, 40, 47, at::END, at::EXIT, at::LAST_SYSCALL] {
                shell.quiet(&format!("break {}", start + offset))?;
            }
            same(
                "a ninth breakpoint",
                shell
                    .says(&format!("break {}", start + at::WRITE))?
                    .as_str(),
                "no room\n",
            )?;
            shell.ends(
                "kill",
                &format!("stages: killed: trap 3 at {:#x}\n", start + at::JUMP),
            )?;
            shell.lives()
        }),
        Case::new("unseen", || {
            let mut shell = Shell::start()?;
            let start = shell.debug()?;
            let code = shell.memory(start, 66)?;
            let rounds = 2 + random() % 3;
            shell.quiet(&format!("set rdx {rounds}"))?;
            for offset in [at::FIRST[2], at::LOOP, at::SYSCALL] {
                shell.quiet(&format!("break {:#x}", start + offset))?;
            }
            // The same one twice is one.
            shell.quiet(&format!("break {:#x}", start + at::LOOP))?;
            let unseen = |shell: &mut Shell| {
                let got = shell.memory(start, 66)?;
                same("the code, while breakpoints are set", hex(&got), hex(&code))
            };
            unseen(&mut shell)?;
            shell.stops("go", start + at::FIRST[2], "breakpoint")?;
            unseen(&mut shell)?;
            shell.stops("step", start + at::FIRST[3], "step")?;
            shell.stops("go", start + at::COUNT, "int3")?;
            unseen(&mut shell)?;
            for _ in 0..2 {
                shell.stops("go", start + at::LOOP, "breakpoint")?;
                unseen(&mut shell)?;
            }
            shell.quiet(&format!("clear {:#x}", start + at::LOOP))?;
            same(
                "clear, once more",
                shell
                    .says(&format!("clear {:#x}", start + at::LOOP))?
                    .as_str(),
                "no breakpoint\n",
            )?;
            // Over a system call, then on; and one that is set where the program stands.
            shell.quiet(&format!("break {:#x}", start + at::EXIT))?;
            shell.stops("go", start + at::SYSCALL, "breakpoint")?;
            let got = shell.says("go")?;
            same(
                "on from a breakpoint at a system call",
                got,
                format!(
                    "Stages done.\nstopped at {:#x}: breakpoint\n",
                    start + at::EXIT
                ),
            )?;
            shell.ends("go", "stages: ended with status 0\n")?;
            // Over an int3 of its own.
            let start = shell.debug()?;
            shell.quiet(&format!("break {:#x}", start + at::INT3))?;
            shell.stops("go", start + at::INT3, "breakpoint")?;
            shell.stops("go", start + at::COUNT, "int3")?;
            shell.ends("go", "Stages done.\nstages: ended with status 0\n")?;
            shell.lives()
        }),
        Case::new("forgets", || {
            let mut shell = Shell::start()?;
            for last in ["kill", "go"] {
                let start = shell.debug()?;
                shell.quiet(&format!("break {:#x}", start + at::LOOP))?;
                shell.quiet(&format!("break {:#x}", start + at::EXIT))?;
                shell.stops("go", start + at::COUNT, "int3")?;
                shell.stops("go", start + at::LOOP, "breakpoint")?;
                if last == "go" {
                    shell.quiet(&format!("clear {:#x}", start + at::EXIT))?;
                    shell.ends("go", "Stages done.\nstages: ended with status 0\n")?;
                } else {
                    shell.ends(
                        "kill",
                        &format!("stages: killed: trap 3 at {:#x}\n", start + at::LOOP),
                    )?;
                }
                // Without the debugger, and with it, and another one.
                shell.type_line("stages")?;
                same(
                    "stages",
                    shell.answer(DEBUG)?,
                    format!("stopped at {:#x}: int3\n", start + at::COUNT),
                )?;
                shell.ends("go", "Stages done.\nstages: ended with status 0\n")?;
                same(
                    "hello",
                    shell.says_to_end("hello")?.as_str(),
                    "Hello from ring 3.\nhello: ended with status 0\n",
                )?;
                let start = shell.debug()?;
                shell.stops("go", start + at::COUNT, "int3")?;
                shell.ends("go", "Stages done.\nstages: ended with status 0\n")?;
            }
            shell.lives()
        }),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

const SHELL: &str = "guest> ";
const DEBUG: &str = "debug> ";

/// A Guest, at one prompt or the other.
struct Shell {
    running: Running,
}

impl Shell {
    fn start() -> Outcome<Self> {
        let mut running = spawn(&["run", "/guests/guest"])?;
        running.wait_for(SHELL)?;
        Ok(Self { running })
    }

    /// Types a line, whose echo is of no interest.
    fn type_line(&mut self, line: &str) -> Outcome {
        self.running.type_line(line)?;
        self.running.wait_for(&format!("{line}\n"))?;
        Ok(())
    }

    /// What is printed before the prompt. Whoever waits for the one prompt and gets the other waits no longer.
    fn answer(&mut self, prompt: &str) -> Outcome<String> {
        let said = self.running.wait_for("> ")?;
        let (answer, got) = match said.strip_suffix("guest") {
            Some(answer) => (answer, SHELL),
            None => (said.strip_suffix("debug").unwrap_or(&said), DEBUG),
        };
        check!(
            got == prompt,
            "the prompt: expected {prompt:?}, got {answer:?} and {got:?}"
        );
        Ok(answer.to_owned())
    }

    /// What a command of the debugger's prints.
    fn says(&mut self, line: &str) -> Outcome<String> {
        self.type_line(line)?;
        self.answer(DEBUG).map_err(|why| format!("{line}: {why}"))
    }

    /// What a line prints behind which the shell is to have the word.
    fn says_to_end(&mut self, line: &str) -> Outcome<String> {
        self.type_line(line)?;
        self.answer(SHELL).map_err(|why| format!("{line}: {why}"))
    }

    /// A command that has nothing to say.
    fn quiet(&mut self, line: &str) -> Outcome {
        same(line, self.says(line)?.as_str(), "")
    }

    fn stops(&mut self, line: &str, rip: u64, why: &str) -> Outcome {
        same(
            line,
            self.says(line)?,
            format!("stopped at {rip:#x}: {why}\n"),
        )
    }

    fn ends(&mut self, line: &str, want: &str) -> Outcome {
        same(line, self.says_to_end(line)?.as_str(), want)
    }

    /// Starts `stages` at the debugger's prompt; where it begins.
    fn debug(&mut self) -> Outcome<u64> {
        let line = "debug stages";
        let said = self.says(line)?;
        let rip = said
            .strip_prefix("stopped at 0x")
            .and_then(|rest| rest.strip_suffix(": start\n"));
        let rip = rip.and_then(|rip| u64::from_str_radix(rip, 16).ok());
        rip.ok_or_else(|| format!("{line}: expected \"stopped at RIP: start\", got {said:?}"))
    }

    fn registers(&mut self) -> Outcome<Vec<(String, u64)>> {
        let said = self.says("regs")?;
        let one = |line: &str| {
            let (name, value) = line.split_once(" 0x")?;
            Some((name.to_owned(), u64::from_str_radix(value, 16).ok()?))
        };
        let all: Option<Vec<_>> = said.lines().map(one).collect();
        all.ok_or_else(|| format!("regs: expected lines such as \"rax 0x2a\", got {said:?}"))
    }

    fn register(&mut self, name: &str) -> Outcome<u64> {
        let all = self.registers()?;
        let it = all.iter().find(|(one, _)| one == name);
        it.map(|(_, value)| *value)
            .ok_or_else(|| format!("regs: expected a line for {name}, got none"))
    }

    /// So many bytes, by 256 at most, which `mem` must show in lines of sixteen.
    fn memory(&mut self, address: u64, len: u64) -> Outcome<Vec<u8>> {
        let line = format!("mem {address:#x} {len}");
        let said = self.says(&line)?;
        let mut bytes = Vec::new();
        for text in said.lines() {
            let place = format!("{:#x}: ", address + bytes.len() as u64);
            let shown = text.strip_prefix(&place).unwrap_or_default().split(' ');
            let shown: Vec<_> = shown.map(|byte| u8::from_str_radix(byte, 16)).collect();
            let short = (len as usize - bytes.len().min(len as usize)).min(16);
            check!(
                shown.len() == short && shown.iter().all(Result::is_ok),
                "{line}: expected a line with {place:?} and {short} bytes, got {text:?}"
            );
            bytes.extend(shown.into_iter().flatten());
        }
        same(&format!("{line}, number of bytes"), bytes.len() as u64, len)?;
        Ok(bytes)
    }

    /// The kernel is what it was.
    fn lives(&mut self) -> Outcome {
        let word = format!("w{:x}", random());
        let got = self.says_to_end(&word)?;
        same("the shell afterwards", got, format!("you said: {word}\n"))
    }
}
