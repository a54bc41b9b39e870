// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::abi::PAGE_SIZE;

/// The smallest Guest: room for the boot page, a kernel at 1 MiB and its page tables.
const LEAST_MEMORY: u64 = 2 << 20;

/// Run Guests under lguest, the hypervisor that needs no help from the CPU.
#[derive(Debug, Parser)]
#[command(name = "lguest", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the Launcher can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a Guest on this terminal and run it to its end.
    #[command(long_about = RUN, after_long_help = RUN_DETAILS)]
    Run(RunOptions),
}

/// `lguest run`.
#[derive(Args, Debug)]
pub struct RunOptions {
    /// Memory of the Guest: bytes, or a number with K, M or G.
    #[arg(short, long, value_name = "SIZE", default_value = "64M", value_parser = parse_size)]
    pub memory: u64,

    /// A file to place in the Guest's memory as its initial RAM disk.
    #[arg(short, long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,

    /// Say on standard error what is placed where.
    #[arg(short, long)]
    pub verbose: bool,

    /// The Guest's kernel, an ELF file for x86-64, then the words of its command line.
    #[arg(value_names = ["KERNEL", "ARGS"], required = true, num_args = 1.., trailing_var_arg = true)]
    kernel_and_args: Vec<String>,
}

impl RunOptions {
    /// The file with the Guest's kernel.
    pub fn kernel(&self) -> &Path {
        Path::new(&self.kernel_and_args[0])
    }

    /// The Guest's command line: all that follows the kernel, even what looks like an option.
    pub fn command_line(&self) -> String {
        self.kernel_and_args[1..].join(" ")
    }
}

const EXAMPLES: &str = "\
Examples:
  lguest run guest.elf                    boot a Guest with 64 MiB on this terminal
  echo help | lguest run guest.elf        type one line to it; it powers off at the end of the input
  lguest run -m 256M guest.elf quiet      more memory, and a word on the Guest's command line

`lguest help run` tells the whole story.";

const RUN: &str = "\
Boot a Guest on this terminal and run it to its end.

The Launcher reads KERNEL into fresh memory, builds its first page tables, and hands both to the lguest module through
/dev/lguest. From then on the Guest's console is this terminal.";

const RUN_DETAILS: &str = "\
Console:
  Everything the Guest prints goes to standard output, and standard input goes to the Guest. On a terminal every key
  goes to the Guest at once, ^C and ^Z as well; three ^C within a second end the Guest. When the input ends, the Guest
  is sent one ^D, which the shells of most Guests take as the wish to power off.

Exit status:
  0 to 255  the status with which the Guest powered off
  1         the Guest died, or it could not be started; the reason is on standard error
  2         three ^C within a second, or a command line that makes no sense
  128 + N   the Launcher was ended by signal N

Files:
  /dev/lguest  appears when the module is loaded: `insmod lguest.ko`, or `modprobe lguest` when it is installed

Examples:
  lguest run guest.elf
  printf 'hello\\nexit 3\\n' | lguest run --memory 16M guest.elf; echo $?";

/// Reads `64M` and its like; the result is a whole number of pages.
fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 1 << 10),
        Some((end, 'm' | 'M')) => (&text[..end], 1 << 20),
        Some((end, 'g' | 'G')) => (&text[..end], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "expected a size such as 64M, 512K or 1G".to_string())?;
    let size = number.checked_mul(unit).ok_or("no machine has that much memory")?;
    if size < LEAST_MEMORY {
        return Err(format!("a Guest needs at least {}K", LEAST_MEMORY >> 10));
    }
    if !size.is_multiple_of(PAGE_SIZE) {
        return Err(format!("memory comes in pages of {PAGE_SIZE} bytes"));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("2048k"), Ok(2 << 20));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        assert_eq!(parse_size("4194304"), Ok(4 << 20));
        for wrong in ["", "M", "-1M", "1T", "64 M", "1M", "2097153", "99999999999G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_after_the_kernel_is_the_guests() {
        let Command::Run(run) = Options::parse_from(["lguest", "run", "-v", "k", "-v", "--memory", "a=b"]).command;
        assert!(run.verbose);
        assert_eq!(run.kernel(), Path::new("k"));
        assert_eq!(run.command_line(), "-v --memory a=b");
        assert_eq!(run.memory, 64 << 20);
    }
}
