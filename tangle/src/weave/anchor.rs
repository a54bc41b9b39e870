//! Anchors that stay the same as long as the name does.

use std::collections::HashSet;

use crate::map::fingerprint;
use crate::model::{Fragment, Model, PieceId};

/// The anchors of all fragments.
pub(super) struct Anchors {
    fragments: Vec<String>,
}

impl Anchors {
    pub(super) fn new(model: &Model) -> Self {
        let mut taken = HashSet::new();
        let fragments = model
            .fragments
            .iter()
            .map(|fragment| {
                let plain = plain(fragment);
                let anchor = if plain.ends_with('-') || taken.contains(&plain) {
                    format!("{plain}-{}", &fingerprint(fragment.title().as_bytes())[..8])
                } else {
                    plain
                };
                taken.insert(anchor.clone());
                anchor
            })
            .collect();
        Self { fragments }
    }

    /// The anchor of one piece; the first of a fragment has the fragment's own.
    pub(super) fn piece(&self, model: &Model, id: PieceId) -> String {
        let fragment = model.pieces[id].fragment;
        let anchor = &self.fragments[fragment];
        match model.fragments[fragment].pieces.iter().position(|&piece| piece == id) {
            None | Some(0) => anchor.clone(),
            // No name has a dot in its anchor, so this cannot be another fragment's.
            Some(later) => format!("{anchor}.{}", later + 1),
        }
    }
}

fn plain(fragment: &Fragment) -> String {
    let mut anchor = String::from(if fragment.name.is_some() { "frag-" } else { "file-" });
    for c in fragment.title().chars() {
        if c.is_alphanumeric() || c == '_' {
            anchor.extend(c.to_lowercase());
        } else if !anchor.ends_with('-') {
            anchor.push('-');
        }
    }
    let kept = anchor.trim_end_matches('-').len().max("frag-".len());
    anchor.truncate(kept);
    anchor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Book;

    #[test]
    fn anchors_are_readable_and_differ() {
        let (model, _) = Model::read(&Book::new([(
            "a.md",
            "```c #Check the *Range*\n```\n```c #check the range\n```\n```c #+\n```\n```c file=a/b.rs\n```\n\
             ```c #Check the *Range* +=\n```\n",
        )]));
        let anchors = Anchors::new(&model);
        let all: Vec<_> = (0..5).map(|id| anchors.piece(&model, id)).collect();
        assert_eq!(all[0], "frag-check-the-range");
        assert!(
            all[1].starts_with("frag-check-the-range-") && all[1].len() == 29,
            "{}",
            all[1]
        );
        assert!(all[2].starts_with("frag--"), "{}", all[2]);
        assert_eq!(all[3], "file-a-b-rs");
        assert_eq!(all[4], "frag-check-the-range.2");
    }
}
