//! Turns placed lines into the new text of each piece: finds out how far each reference is indented now, and takes that
//! indentation off the lines.

use std::collections::HashSet;

use super::outline::{InstanceId, Outline, ReferenceId, Step};
use super::place::Placed;
use crate::dialect::Dialect;
use crate::model::PieceId;

/// A line of the new text of a piece.
#[derive(Debug, Clone)]
pub(super) enum BodyLine<'a> {
    /// Code, and the line of the fence that it was before.
    Text { text: &'a str, old: Option<usize> },
    /// `<<...>>`: the fence and the line in it where the name is written, and the white space before it.
    Reference { written: (PieceId, usize), indent: String },
}

impl PartialEq for BodyLine<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text { text, .. }, Self::Text { text: other, .. }) => text == other,
            (
                Self::Reference { written, indent },
                Self::Reference {
                    written: other_written,
                    indent: other_indent,
                },
            ) => written == other_written && indent == other_indent,
            _ => false,
        }
    }
}

/// A `<<name>>` in the book: the piece that it stands in now, and the piece and the line of it where it is written.
/// The two pieces differ once the text around it was inlined.
pub(super) type Use = (PieceId, PieceId, usize);
/// References whose text takes their place.
pub(super) type Inlined = HashSet<Use>;

/// The new texts of one file's pieces.
pub(super) struct Bodies<'a> {
    /// For each instance, the one that its text went into: itself, unless it was inlined.
    pub owners: Vec<InstanceId>,
    /// For each instance, its new text; empty if it was inlined.
    pub texts: Vec<Vec<BodyLine<'a>>>,
}

impl Bodies<'_> {
    /// Which `<<name>>` of the book `reference` is.
    pub fn use_of(&self, outline: &Outline, reference: ReferenceId) -> Use {
        use_of(outline, &self.owners, reference)
    }
}

fn use_of(outline: &Outline, owners: &[InstanceId], reference: ReferenceId) -> Use {
    let reference = &outline.references[reference];
    let piece = |instance: InstanceId| outline.instances[instance].piece;
    (piece(owners[reference.within]), piece(reference.within), reference.line)
}

/// The white space before all that each reference writes, once the file holds the lines `placed`.
///
/// A reference keeps its indentation if any line below it is as it was; if all were moved, it moves with them.
pub(super) fn indents(outline: &Outline, old: &[&str], placed: &[Placed]) -> Vec<String> {
    let mut indents: Vec<String> = Vec::with_capacity(outline.references.len());
    for reference in &outline.references {
        let above = match outline.instances[reference.within].reference {
            Some(above) => indents[above].as_str(),
            None => "",
        };
        let (enter, leave) = reference.steps;
        let from = placed.partition_point(|placed| placed.step <= enter);
        let to = placed.partition_point(|placed| placed.step < leave);
        let lines = &placed[from..to.max(from)];
        let kept = format!("{above}{}", reference.own);
        let Some(common) = common_indent(lines.iter().map(|placed| placed.text)) else {
            indents.push(kept);
            continue;
        };
        let fits = common.starts_with(&kept);
        let anchored = lines.iter().any(|placed| placed.same && !placed.text.trim().is_empty());
        if fits && anchored {
            indents.push(kept);
            continue;
        }
        // What the fragment itself had before each of its lines it shall have again.
        let from = outline.lines.partition_point(|&step| step <= enter);
        let to = outline.lines.partition_point(|&step| step < leave);
        let inner = common_indent(old[from..to].iter().copied())
            .and_then(|common| common.strip_prefix(reference.indent.as_str()))
            .unwrap_or_default();
        let moved = common.strip_suffix(inner).filter(|moved| moved.starts_with(above));
        indents.push(match moved {
            Some(moved) => moved.to_owned(),
            None if fits => kept,
            None => common.to_owned(),
        });
    }
    indents
}

/// The white space that all lines begin with; `None` if all are blank.
fn common_indent<'a>(lines: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    lines
        .filter(|line| !line.trim().is_empty())
        .map(|line| &line[..line.len() - line.trim_start().len()])
        .reduce(|common, indent| {
            let same = common.chars().zip(indent.chars()).take_while(|(a, b)| a == b);
            &common[..same.map(|(c, _)| c.len_utf8()).sum()]
        })
}

/// The new texts of all pieces of a file that holds the lines `placed`.
pub(super) fn bodies<'a>(
    dialect: Dialect,
    outline: &Outline,
    old: &[&str],
    placed: &[Placed<'a>],
    inlined: &Inlined,
) -> Bodies<'a> {
    let indents = indents(outline, old, placed);
    let indent_of = |instance: InstanceId| match outline.instances[instance].reference {
        Some(reference) => indents[reference].as_str(),
        None => "",
    };
    // Instances are numbered from the outside to the inside.
    let mut owners: Vec<InstanceId> = Vec::with_capacity(outline.instances.len());
    for (id, instance) in outline.instances.iter().enumerate() {
        owners.push(match instance.reference {
            Some(reference) if inlined.contains(&use_of(outline, &owners, reference)) => {
                owners[outline.references[reference].within]
            }
            _ => id,
        });
    }
    let mut texts: Vec<Vec<BodyLine>> = vec![Vec::new(); outline.instances.len()];
    let mut rest = placed;
    for (at, step) in outline.steps.iter().enumerate() {
        if let Step::Enter(id) = *step
            && !inlined.contains(&use_of(outline, &owners, id))
        {
            let reference = &outline.references[id];
            let owner = owners[reference.within];
            let own = indents[id].strip_prefix(indent_of(owner)).unwrap_or(&reference.own);
            texts[owner].push(BodyLine::Reference {
                written: (outline.instances[reference.within].piece, reference.line),
                indent: own.to_owned(),
            });
        }
        while let Some((line, behind)) = rest.split_first().filter(|(line, _)| line.step == at) {
            rest = behind;
            let (instance, old) = match *step {
                Step::Line(instance, number) if line.instead => (instance, line.same.then_some(number)),
                _ => match outline.owner_behind(at) {
                    Some(instance) => (instance, None),
                    None => continue,
                },
            };
            let owner = owners[instance];
            let text = if dialect.indents(line.text) {
                line.text.strip_prefix(indent_of(owner)).unwrap_or(line.text)
            } else {
                line.text
            };
            texts[owner].push(BodyLine::Text {
                text,
                old: old.filter(|_| owner == instance),
            });
        }
    }
    Bodies { owners, texts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_white_space_that_lines_share() {
        assert_eq!(common_indent(["    a", "", "  \tb", "   "].into_iter()), Some("  "));
        assert_eq!(common_indent(["\ta", "  b"].into_iter()), Some(""));
        assert_eq!(common_indent([" ", ""].into_iter()), None);
    }
}
