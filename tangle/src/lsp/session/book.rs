//! One book of an editor: its chapters at this moment, and the analyzer of its code.

use std::rc::Rc;

use lsp_types::{Diagnostic, MessageType, Position, Uri};

use super::super::diagnostics;
use super::super::downstream::{Downstream, Site};
use super::super::edition::Edition;
use super::super::mapping::Mapping;
use super::super::save;
use super::super::snapshot::Snapshot;
use super::super::translate::Translator;
use super::{Desk, analyzer_settings};
use crate::lab::View;

/// A book, perhaps with a lab behind it, and everything that is known about it.
pub(super) struct Book {
    pub edition: Edition,
    pub downstream: Option<Downstream>,
    state: Option<State>,
    /// Its texts changed since `state` was made.
    pub stale: bool,
    /// The last trouble that was shown; the same is not shown twice.
    trouble: String,
}

/// The chapters, and the files that the analyzer has seen.
struct State {
    /// As the editor shows them.
    now: Rc<Snapshot>,
    /// Connects it with the last state that had files.
    mapping: Mapping,
    /// That state.
    sound: Rc<Snapshot>,
}

impl Book {
    /// Begins with a book.
    pub fn open(edition: Edition, desk: &Desk) -> Self {
        let mut book = Self {
            edition,
            downstream: None,
            state: None,
            stale: true,
            trouble: String::new(),
        };
        // The analyzer looks for its packages on disk, so they are there before it is.
        book.save(desk);
        book.refresh(desk);
        book
    }

    /// The chapters as the editor shows them; `None` as long as they could not be read.
    pub fn now(&self) -> Option<&Rc<Snapshot>> {
        self.state.as_ref().map(|state| &state.now)
    }

    /// Whether the editor means a place that can be seen in one of its chapters.
    pub fn shows(&self, uri: &Uri, position: Option<Position>) -> bool {
        let chapter = self.now().and_then(|now| Some((now, now.chapter(uri)?)));
        chapter.is_some_and(|(now, chapter)| position.is_none_or(|position| now.shows(chapter, position)))
    }

    /// Whether the editor means one of its chapters.
    pub fn has(&self, uri: &Uri) -> bool {
        self.now().is_some_and(|now| now.chapter(uri).is_some())
    }

    /// Looks at the chapters again if anything changed. Whether there is anything new.
    pub fn refresh(&mut self, desk: &Desk) -> bool {
        if !std::mem::take(&mut self.stale) {
            return false;
        }
        match Snapshot::take(&self.edition, desk.encoding, &desk.documents) {
            Ok(now) => {
                let now = Rc::new(now);
                let sound = match &self.state {
                    Some(state) if now.outputs.is_none() => state.sound.clone(),
                    _ => now.clone(),
                };
                self.state = Some(State {
                    mapping: Mapping::new(now.clone(), sound.clone()),
                    now,
                    sound,
                });
                self.trouble.clear();
                self.show_files(desk);
                true
            }
            Err(error) => {
                self.complain(desk, error.to_string());
                false
            }
        }
    }

    /// Says what is wrong, once.
    fn complain(&mut self, desk: &Desk, trouble: String) {
        if self.trouble != trouble {
            desk.client.show(MessageType::ERROR, trouble.clone());
            self.trouble = trouble;
        }
    }

    /// Writes the generated files as the saved chapters have them: cargo and the analyzer look there.
    pub fn save(&mut self, desk: &Desk) {
        if !self.edition.is_analyzed() {
            return;
        }
        match save::tangle(&self.edition) {
            Ok(written) => {
                if let Some(downstream) = &mut self.downstream {
                    downstream.saved(&written);
                }
            }
            Err(error) => self.complain(desk, error.to_string()),
        }
    }

    /// Shows the analyzer what the files are now. It is started for whoever has a chapter with code before them.
    pub fn show_files(&mut self, desk: &Desk) {
        let Some(State { sound, .. }) = &self.state else { return };
        let is_open = |chapter: usize| {
            let path = sound.root.join(sound.book.sources[chapter].path());
            desk.documents.get(&path).is_some()
        };
        if self.downstream.is_none() {
            let program = desk.options.analyzer.as_ref().filter(|_| self.edition.is_analyzed());
            let Some(program) = program else { return };
            let mut own = sound.model.pieces.iter().map(|piece| piece.source);
            if !own.any(|chapter| sound.is_own(chapter) && is_open(chapter)) {
                return;
            }
            let site = Site {
                directory: sound.root.clone(),
                root: self.edition.system(&sound.out).to_owned(),
                out: sound.out.clone(),
            };
            self.downstream = Some(Downstream::new(
                program,
                site,
                desk.editor.clone(),
                analyzer_settings(desk.editor.initialization_options.as_ref()),
                desk.encoding,
                desk.client.clone(),
                desk.sender.clone(),
            ));
        }
        let Some(downstream) = &mut self.downstream else { return };
        downstream.start_if_needed(sound);
        downstream.show(sound, is_open);
    }

    pub fn translator(&self) -> Option<Translator> {
        let state = self.state.as_ref()?;
        Some(Translator {
            mapping: state.mapping.clone(),
            analyzer: self.downstream.as_ref()?.encoding(),
            out: state.sound.out.clone(),
        })
    }

    /// Everything that there is to say of it, to `add`; with a note on where that holds, if that is not the book by itself.
    pub fn diagnostics(&self, mut add: impl FnMut(&Uri, Diagnostic, &str)) {
        let Some(now) = self.now() else { return };
        let notes = Notes::new(&self.edition, now);
        for (chapter, diagnostic) in diagnostics::own(now) {
            add(now.uri(chapter), diagnostic, notes.of(now, chapter));
        }
        let Some((downstream, translator)) = self.downstream.as_ref().zip(self.translator()) else {
            return;
        };
        for (uri, reported) in downstream.reported() {
            let path = translator.generated(uri);
            for diagnostic in reported {
                match &path {
                    None => add(uri, diagnostic.clone(), ""),
                    Some(path) => {
                        if let Some((chapter, diagnostic)) = translator.diagnostic(path, diagnostic) {
                            add(now.uri(chapter), diagnostic, notes.of(now, chapter));
                        }
                    }
                }
            }
        }
    }
}

/// What there is to add to what is wrong only in one edition: in the lab, and in the book before it.
struct Notes {
    lab: &'static str,
    book: String,
}

impl Notes {
    fn new(edition: &Edition, now: &Snapshot) -> Self {
        let view = edition.lab.as_ref().map(|lab| lab.view);
        let lab = now.lab.map(|lab| now.book.sources[lab].path());
        Self {
            lab: match view {
                Some(View::Starter) => " (in the starter)",
                _ => "",
            },
            book: lab.map_or_else(String::new, |lab| format!(" (with {lab} behind the book)")),
        }
    }

    fn of(&self, now: &Snapshot, chapter: usize) -> &str {
        if now.is_own(chapter) { self.lab } else { &self.book }
    }
}
