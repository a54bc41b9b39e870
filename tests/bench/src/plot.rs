//! The book's plot: a row for each operation, a mark for each system, on a logarithmic scale.
//!
//! Drawn as `chapters/figures/README.md` says.

use crate::figures::Figures;
use crate::operations::System;
use crate::table::{grouped, shown};
use std::fmt::Write;

const WIDTH: f64 = 480.0;
/// Where the scale begins and ends, and what stands there.
const LEFT: f64 = 12.0;
const RIGHT: f64 = 468.0;
const DECADES: f64 = 6.0;
/// Height of the legend, and of a row.
const TOP: f64 = 84.0;
const ROW: f64 = 40.0;

/// Who is drawn, how, and under which name. Later ones lie above.
const SERIES: [(System, &str, &str); 5] = [
    (System::Uml, "uml", "User Mode Linux"),
    (System::KvmNested, "nested", "KVM, nested paging"),
    (System::KvmShadow, "shadow", "KVM, shadow paging"),
    (System::Native, "host", "the Host alone"),
    (System::Lguest, "lguest", "lguest"),
];

fn x(instructions: u64) -> f64 {
    let decades = (instructions.max(1) as f64).log10();
    LEFT + (RIGHT - LEFT) * decades / DECADES
}

/// A mark: each series has a shape of its own, too.
fn mark(class: &str, x: f64, y: f64) -> String {
    match class {
        "host" => format!(
            r#"<rect class="host" x="{:.1}" y="{:.1}" width="11" height="11"/>"#,
            x - 5.5,
            y - 5.5
        ),
        "lguest" => format!(r#"<circle class="kernel" cx="{x:.1}" cy="{y:.1}" r="6.5"/>"#),
        "uml" => {
            format!(
                r#"<path class="launcher" d="M{:.1} {:.1} h13 l-6.5 -11 z"/>"#,
                x - 6.5,
                y + 5.0
            )
        }
        "nested" => format!(
            r#"<path class="hollow" d="M{x:.1} {:.1} l6.5 6.5 l-6.5 6.5 l-6.5 -6.5 z"/>"#,
            y - 6.5
        ),
        _ => format!(
            r#"<path class="plain" d="M{x:.1} {:.1} l6.5 6.5 l-6.5 6.5 l-6.5 -6.5 z"/>"#,
            y - 6.5
        ),
    }
}

/// The plot as a file.
pub fn plot(figures: &Figures) -> String {
    let operations: Vec<_> = shown()
        .filter(|operation| {
            SERIES
                .iter()
                .any(|(system, ..)| figures.get(*system, *operation).is_some())
        })
        .collect();
    let bottom = TOP + ROW * operations.len() as f64;
    let height = bottom + 30.0;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="576" height="{:.0}" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">
  <title id="title">Instructions for each operation, on a logarithmic scale</title>
  <!-- Drawn by make bench. -->
  <style>
    text {{ font: 600 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #737d8c; dominant-baseline: central }}
    rect, path, circle {{ stroke-width: 1.5 }}
    .host {{ fill: #f5aea1; stroke: #c4543f }}
    .kernel {{ fill: #a3c8f3; stroke: #3f7cc0 }}
    .launcher {{ fill: #cdb8ef; stroke: #7e5bbd }}
    .plain {{ fill: #d7dbe0; stroke: #7c8592 }}
    .hollow {{ fill: none; stroke: #7c8592 }}
    .row {{ fill: none; stroke: #737d8c; stroke-width: 1 }}
    .grid {{ fill: none; stroke: #737d8c; stroke-width: 1; stroke-dasharray: 2 5; opacity: 0.6 }}
  </style>
"##,
        height * 1.2
    );
    for (i, (_, class, name)) in SERIES.into_iter().rev().enumerate() {
        let (column, row) = ((i % 2) as f64, (i / 2) as f64);
        let (at_x, at_y) = (LEFT + 8.0 + 230.0 * column, 14.0 + 22.0 * row);
        let _ = writeln!(svg, "  {}", mark(class, at_x, at_y));
        let _ = writeln!(
            svg,
            r#"  <text x="{:.0}" y="{at_y:.0}">{name}</text>"#,
            at_x + 16.0
        );
    }
    for decade in 0..=DECADES as u32 {
        let at = x(10_u64.pow(decade));
        let _ = writeln!(
            svg,
            r#"  <path class="grid" d="M{at:.1} {:.0} V{bottom:.0}"/>"#,
            TOP - 8.0
        );
        let anchor = match decade {
            0 => "start",
            6 => "end",
            _ => "middle",
        };
        let label = match decade {
            6 => "million".to_owned(),
            _ => grouped(10_u64.pow(decade)),
        };
        let _ = writeln!(
            svg,
            r#"  <text x="{at:.1}" y="{:.0}" text-anchor="{anchor}">{label}</text>"#,
            bottom + 14.0
        );
    }
    for (i, operation) in operations.iter().enumerate() {
        let y = TOP + ROW * i as f64 + 28.0;
        let title = operation.title().replace('`', "");
        let _ = writeln!(
            svg,
            r#"  <text x="{LEFT}" y="{:.0}">{title}</text>"#,
            y - 18.0
        );
        let _ = writeln!(svg, r#"  <path class="row" d="M{LEFT} {y:.0} H{RIGHT}"/>"#);
        for (system, class, _) in SERIES {
            if let Some(figure) = figures.get(system, *operation) {
                let _ = writeln!(svg, "  {}", mark(class, x(figure.instructions), y));
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::some;
    use crate::operations::Operation;

    #[test]
    fn ten_times_as_much_is_one_step_to_the_right() {
        assert!((x(1) - LEFT).abs() < 0.01);
        assert!((x(1_000_000) - RIGHT).abs() < 0.01);
        let step = x(10) - x(1);
        assert!((x(10_000) - x(1000) - step).abs() < 0.01);
    }

    #[test]
    fn every_figure_has_its_mark() {
        let figures = some(&[
            (System::Lguest, Operation::Hypercall, 1315),
            (System::KvmShadow, Operation::Hypercall, 3529),
        ]);
        let svg = plot(&figures);
        // One more in the legend.
        assert_eq!(svg.matches(r#"class="kernel""#).count(), 2);
        assert_eq!(svg.matches(r#"class="plain""#).count(), 2);
        assert_eq!(svg.matches(r#"class="host""#).count(), 1);
        assert!(svg.contains(">hypercall and back<") && !svg.contains(">SET_PTE<"));
    }
}
