//! `lab prove`.

use std::sync::Mutex;

use clap::Args;
use lab::grade::Setting;
use lab::prove::{Lot, Proof, prove};
use lab::report::{BAD, GOOD, plain, styled};
use lab::trouble::Result;

use super::show::needs_built;
use crate::{Context, Status};

#[derive(Args)]
pub struct Options {
    /// The labs [default: all]
    labs: Vec<String>,
    /// Only what has one of these in its name, like lab/01/solution (may be repeated)
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Of each lab's wrong solutions only N, drawn by lot
    #[arg(long, value_name = "N")]
    wrong: Option<usize>,
    /// Draw as this word says [default: another one each time]
    #[arg(long, value_name = "WORD", requires = "wrong")]
    lot: Option<String>,
    /// Print as cargo's tests do
    #[arg(long)]
    libtest: bool,
}

/// `lab prove`.
pub fn run(context: &Context, options: &Options) -> Result<Status> {
    if !context.course.labs.iter().any(lab::lab::Lab::has_solution) {
        anstream::eprintln!("There is nothing to prove: this is a copy for students, without solutions.");
        return Ok(Status::Fine);
    }
    needs_built(context)?;
    let labs = if options.labs.is_empty() {
        context.course.labs.iter().collect()
    } else {
        let found = options.labs.iter().map(|name| context.course.find(name));
        found.collect::<Result<Vec<_>>>()?
    };
    let setting = Setting {
        stop: context.stop.clone(),
        colours: super::show::has_colours(),
        ..Setting::default()
    };
    let lot = options
        .wrong
        .map(|many| draw(many, options.lot.as_deref()))
        .transpose()?;
    let counts = Mutex::new((0, 0));
    let tell = |proof: &Proof| {
        // Two may have something to say at the same time.
        let mut counts = counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &proof.wrong {
            None => counts.0 += 1,
            Some(_) => counts.1 += 1,
        }
        anstream::print!("{}", shown(proof, options.libtest));
    };
    prove(&context.course, &labs, &options.only, lot.as_ref(), &setting, &tell)?;
    let (passed, failed) = counts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !options.libtest {
        println!("\n{passed} passed, {failed} failed");
    }
    Ok(if failed == 0 { Status::Fine } else { Status::No })
}

/// How wrong solutions are drawn; whoever wants the same ones again is told the word.
fn draw(many: usize, word: Option<&str>) -> Result<Lot> {
    let word = match word {
        Some(word) => word.to_owned(),
        None => lab::boot::token()?[..8].to_owned(),
    };
    println!("Of the wrong solutions of each lab {many} are tried; the same ones again: --wrong {many} --lot {word}");
    Ok(Lot { many, word })
}

fn shown(proof: &Proof, libtest: bool) -> String {
    let name = &proof.name;
    match (&proof.wrong, libtest) {
        (None, false) => format!("{} {name}\n", styled(GOOD, "ok")),
        (Some(why), false) => format!(
            "{} {name}: {}\n",
            styled(BAD, "FAIL"),
            why.trim_end().replace('\n', "\n    ")
        ),
        (None, true) => format!("test {name} ... ok\n"),
        (Some(why), true) => format!("test {name} ... FAILED\n{}\n", plain(why.trim_end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_proof_is_a_line_that_scripts_count() {
        let proof = |wrong: Option<&str>| Proof {
            name: "lab/01/solution".to_owned(),
            wrong: wrong.map(str::to_owned),
        };
        assert_eq!(plain(&shown(&proof(None), false)), "ok lab/01/solution\n");
        assert_eq!(
            plain(&shown(&proof(Some("a\nb\n")), false)),
            "FAIL lab/01/solution: a\n    b\n"
        );
        assert_eq!(shown(&proof(None), true), "test lab/01/solution ... ok\n");
        assert_eq!(shown(&proof(Some("a")), true), "test lab/01/solution ... FAILED\na\n");
    }
}
