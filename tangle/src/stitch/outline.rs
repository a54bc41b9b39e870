//! One generated file as the book builds it: which piece writes each line, and where one piece ends and another begins.

use crate::model::{FragmentId, Model, PieceId};

/// An index into [`Outline::instances`].
pub(super) type InstanceId = usize;
/// An index into [`Outline::references`].
pub(super) type ReferenceId = usize;

/// A step of the writing of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A piece begins.
    Open(InstanceId),
    /// Its line (an index into the fence's lines) is written.
    Line(InstanceId, usize),
    /// A reference begins.
    Enter(ReferenceId),
    /// All pieces of the fragment were written.
    Leave(ReferenceId),
    /// A piece ends.
    Close(InstanceId),
}

/// A piece at one of the places that it lands in.
#[derive(Debug)]
pub(super) struct Instance {
    pub piece: PieceId,
    pub fragment: FragmentId,
    /// The reference that led here; `None` in a piece of the file itself.
    pub reference: Option<ReferenceId>,
}

/// A `<<name>>` at one of the places that it lands in.
#[derive(Debug)]
pub(super) struct Reference {
    /// Where it is written.
    pub within: InstanceId,
    /// The line of it in that fence.
    pub line: usize,
    /// The white space before it in the fence.
    pub own: String,
    /// The white space before all that it writes.
    pub indent: String,
    /// The step that enters it and the one that leaves it.
    pub steps: (usize, usize),
}

/// All of one file.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub steps: Vec<Step>,
    pub instances: Vec<Instance>,
    pub references: Vec<Reference>,
    /// For each line of the file, the step that writes it.
    pub lines: Vec<usize>,
}

impl Outline {
    /// Follows the writing of the file that the fragment `file` is.
    pub fn new(model: &Model, file: FragmentId) -> Self {
        enum Task {
            Piece(PieceId, Option<ReferenceId>),
            /// Go on with a piece at this line.
            Rest(InstanceId, usize),
            Leave(ReferenceId),
        }
        let mut outline = Self::default();
        let pieces = |id: FragmentId, reference| {
            let live = model.fragments[id].live().iter().rev();
            live.map(move |&piece| Task::Piece(piece, reference))
        };
        let mut tasks: Vec<Task> = pieces(file, None).collect();
        while let Some(task) = tasks.pop() {
            let (instance, start) = match task {
                Task::Piece(piece, reference) => {
                    outline.instances.push(Instance {
                        piece,
                        fragment: model.pieces[piece].fragment,
                        reference,
                    });
                    outline.steps.push(Step::Open(outline.instances.len() - 1));
                    (outline.instances.len() - 1, 0)
                }
                Task::Rest(instance, line) => (instance, line),
                Task::Leave(reference) => {
                    outline.references[reference].steps.1 = outline.steps.len();
                    outline.steps.push(Step::Leave(reference));
                    continue;
                }
            };
            let piece = outline.instances[instance].piece;
            let fence = &model.pieces[piece].fence;
            let mut finished = true;
            for line in start..fence.len() {
                let Some(reference) = fence.line(line).reference() else {
                    outline.lines.push(outline.steps.len());
                    outline.steps.push(Step::Line(instance, line));
                    continue;
                };
                let above = outline.indent_of(instance);
                let id = outline.references.len();
                outline.references.push(Reference {
                    within: instance,
                    line,
                    own: reference.indent.to_owned(),
                    indent: format!("{above}{}", reference.indent),
                    steps: (outline.steps.len(), 0),
                });
                outline.steps.push(Step::Enter(id));
                tasks.push(Task::Rest(instance, line + 1));
                tasks.push(Task::Leave(id));
                if let Some(fragment) = model.meant(piece, reference.name) {
                    tasks.extend(pieces(fragment, Some(id)));
                }
                finished = false;
                break;
            }
            if finished {
                outline.steps.push(Step::Close(instance));
            }
        }
        outline
    }

    /// What stands before every line of `instance`.
    pub fn indent_of(&self, instance: InstanceId) -> &str {
        match self.instances[instance].reference {
            Some(reference) => &self.references[reference].indent,
            None => "",
        }
    }

    /// The piece that a line belongs to if it is put behind `step`; between the pieces of one fragment it belongs to none.
    pub fn owner_behind(&self, step: usize) -> Option<InstanceId> {
        match self.steps[step] {
            Step::Open(instance) | Step::Line(instance, _) => Some(instance),
            Step::Leave(reference) => Some(self.references[reference].within),
            Step::Enter(_) | Step::Close(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Book;

    #[test]
    fn the_steps_of_a_file() {
        use Step::{Close, Enter, Leave, Line, Open};
        let text = "```c file=a\n1\n  <<x>>\n3\n```\n```c #x\n2\n```\n```c #x +=\n```\n";
        let (model, _) = Model::read(&Book::new([("a.md", text)]));
        let outline = Outline::new(&model, 0);
        assert_eq!(
            outline.steps,
            [
                Open(0),
                Line(0, 0),
                Enter(0),
                Open(1),
                Line(1, 0),
                Close(1),
                Open(2),
                Close(2),
                Leave(0),
                Line(0, 2),
                Close(0)
            ]
        );
        assert_eq!(outline.lines, [1, 4, 9]);
        assert_eq!(outline.references[0].steps, (2, 8));
        assert_eq!(outline.indent_of(2), "  ");
        assert_eq!(outline.owner_behind(5), None);
        assert_eq!(outline.owner_behind(8), Some(0));
    }
}
