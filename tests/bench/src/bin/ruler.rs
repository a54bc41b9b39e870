//! What is done with the counts.
//!
//! ```text
//! ruler book COUNTS KERNEL QEMU BASELINE CHAPTER PLOT   keep the figures, and make the book's tables and plot of them
//! ruler draw BASELINE CHAPTER PLOT                      make tables and plot anew of the figures that were kept
//! ruler compare COUNTS KERNEL QEMU BASELINE             say what differs; status 1: our Guest pays more
//! ruler calibrated COUNTS                               whether the loop of known length was counted right
//! ruler where ADDRESSES SYMBOLS MODULE                  in which functions the instructions of an operation are
//! ruler operations                                      what can be asked for
//! ```

use ruler::figures::Figures;
use ruler::operations::Operation;
use ruler::symbols::{self, Symbols};
use ruler::{compare, plot, table};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

fn write(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{path}: {e}"))
}

fn measured(counts: &str, kernel: &str, qemu: &str) -> Result<Figures, String> {
    let figures = Figures::from_samples(&read(counts)?)?;
    figures.check()?;
    Ok(Figures {
        kernel: kernel.to_owned(),
        qemu: qemu.to_owned(),
        ..figures
    })
}

fn kept(baseline: &str) -> Result<Figures, String> {
    serde_json::from_str(&read(baseline)?).map_err(|e| format!("{baseline}: {e}"))
}

/// Makes the book's tables and plot of figures.
fn draw(figures: &Figures, chapter: &str, picture: &str) -> Result<(), String> {
    write(chapter, &table::into_chapter(&read(chapter)?, figures)?)?;
    write(picture, &plot::plot(figures))
}

fn run(arguments: &[&str]) -> Result<ExitCode, String> {
    match *arguments {
        ["book", counts, kernel, qemu, baseline, chapter, picture] => {
            let figures = measured(counts, kernel, qemu)?;
            if Path::new(baseline).exists() {
                println!("{}", compare::compare(&kept(baseline)?, &figures));
            }
            let json = serde_json::to_string_pretty(&figures).map_err(|e| e.to_string())?;
            draw(&figures, chapter, picture)?;
            write(baseline, &(json + "\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        ["draw", baseline, chapter, picture] => {
            draw(&kept(baseline)?, chapter, picture)?;
            Ok(ExitCode::SUCCESS)
        }
        ["compare", counts, kernel, qemu, baseline] => {
            let comparison = compare::compare(&kept(baseline)?, &measured(counts, kernel, qemu)?);
            println!("{comparison}");
            Ok(if comparison.is_worse() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
        ["calibrated", counts] => {
            Figures::from_samples(&read(counts)?)?.check()?;
            Ok(ExitCode::SUCCESS)
        }
        ["where", addresses, names, module] => {
            let names = Symbols::parse(&read(names)?);
            let mut executed = symbols::executed(&read(addresses)?)?;
            symbols::out_of_the_slot(&mut executed, &names);
            let written_in = symbols::written_in(&executed, &names, Path::new(module))?;
            print!("{}", symbols::report(&executed, &names, &written_in));
            Ok(ExitCode::SUCCESS)
        }
        ["operations"] => {
            println!(
                "{}",
                table::shown()
                    .map(Operation::key)
                    .collect::<Vec<_>>()
                    .join(" ")
            );
            Ok(ExitCode::SUCCESS)
        }
        _ => Err("usage: ruler book|compare|calibrated|where|operations ...".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(&arguments).unwrap_or_else(|why| {
        eprintln!("ruler: {why}");
        ExitCode::from(2)
    })
}
