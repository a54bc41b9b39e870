//! A picture of a book: its chapters, their fragments, and who uses whom.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::{FragmentId, Model};
use crate::source::Book;
use crate::states;

const ROW: usize = 18;
const LEFT: usize = 16;
/// The width of one character of the text, about.
const CHARACTER: usize = 7;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:currentColor}.chapter{font-weight:600}.file{fill:#0a7d5a}\
path{fill:none;stroke:#5b7bd5;stroke-width:1.2;opacity:.55}path:hover{opacity:1;stroke-width:2.5}\
.back{stroke:#c77d2e}circle{fill:#5b7bd5}svg{color:#222}@media(prefers-color-scheme:dark){svg{color:#ddd}.file{fill:#5fd3a8}}";

/// Draws the fragments in reading order, each under the chapter that defines it. An arc leads from a fragment to each that
/// it uses: blue to later ones, orange back to earlier ones. Files are green.
///
/// # Panics
/// Never: strings take everything that is written to them.
#[must_use]
pub fn svg(book: &Book, model: &Model) -> String {
    let mut rows: Vec<(usize, FragmentId)> = Vec::new();
    let mut texts = String::new();
    let mut y = ROW;
    let mut width = 0;
    for (index, source) in book.sources.iter().enumerate() {
        let here: Vec<FragmentId> = (0..model.fragments.len())
            .filter(|&id| model.pieces[model.fragments[id].pieces[0]].source == index)
            .collect();
        if here.is_empty() {
            continue;
        }
        y += ROW / 2;
        let title = format!("{}  {}", states::tag(source.path()), source.path());
        width = width.max(title.chars().count() * (CHARACTER + 1));
        writeln!(
            texts,
            "<text class=\"chapter\" x=\"{LEFT}\" y=\"{y}\">{}</text>",
            escape(&title)
        )
        .expect("string");
        y += ROW;
        for id in here {
            let fragment = &model.fragments[id];
            let class = if fragment.path.is_some() { " class=\"file\"" } else { "" };
            let title = fragment.title();
            width = width.max(16 + title.chars().count() * CHARACTER);
            writeln!(
                texts,
                "<text{class} x=\"{}\" y=\"{y}\">{}</text>",
                LEFT + 16,
                escape(title)
            )
            .expect("string");
            rows.push((y, id));
            y += ROW;
        }
    }
    let height: BTreeMap<FragmentId, usize> = rows.iter().map(|&(y, id)| (id, y - 4)).collect();
    let base = LEFT + width + 12;
    let mut arcs = String::new();
    let mut reach = 0;
    for &(_, from) in &rows {
        let mut used: Vec<FragmentId> = Vec::new();
        for &piece in model.fragments[from].live() {
            let fence = &model.pieces[piece].fence;
            for line in fence.lines() {
                let to = line
                    .reference()
                    .and_then(|reference| model.meant(piece, reference.name));
                if let Some(to) = to
                    && !used.contains(&to)
                {
                    used.push(to);
                }
            }
        }
        for to in used {
            let (y1, y2) = (height[&from], height[&to]);
            let bend = 14 + y1.abs_diff(y2) / 2;
            let bend = bend.min(60 + bend / 8);
            reach = reach.max(bend);
            let class = if y2 < y1 { " class=\"back\"" } else { "" };
            writeln!(
                arcs,
                "<path{class} d=\"M{base} {y1}C{0} {y1} {0} {y2} {base} {y2}\"><title>{1} uses {2}</title></path>\
                 <circle cx=\"{base}\" cy=\"{y2}\" r=\"2.5\"/>",
                base + bend * 4 / 3,
                escape(model.fragments[from].title()),
                escape(model.fragments[to].title()),
            )
            .expect("string");
        }
    }
    let (width, height) = (base + reach + 24, y + ROW);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n<title>Fragments and who uses them</title>\n<style>{STYLE}</style>\n{texts}{arcs}</svg>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fragment_and_every_use_is_there() {
        let text = "```c file=a.c\n<<x & y>>\n<<z>>\n<<z>>\n```\n```c #x & y\n<<z>>\n```\n```c #z\n```\n";
        let book = Book::new([("a.md", text)]);
        let program = crate::program(&book).unwrap();
        let svg = svg(&book, &program.model);
        assert_eq!(svg.matches("<path").count(), 3);
        assert!(svg.contains("class=\"file\" x=\"32\" y=\"45\">a.c<"), "{svg}");
        assert!(svg.contains("a.c uses x &amp; y"));
    }
}
