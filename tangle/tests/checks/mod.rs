//! What holds for every program.

use tangle::Program;
use tangle::source::Book;

/// Every generated line is the line of the chapter that the map names, moved by the columns that it says.
pub fn the_map_tells_the_truth(book: &Book, program: &Program) {
    let map = program.tangled.line_map(book, &program.model);
    for (path, file) in &program.tangled.files {
        let lines: Vec<_> = file.text.split_terminator('\n').collect();
        assert_eq!(map.files[path].lines, lines.len());
        for (at, line) in lines.into_iter().enumerate() {
            let origin = map.origin(path, at + 1, 1).expect("every line has an origin");
            let chapter = book.sources.iter().find(|source| source.path() == origin.source);
            let written = chapter.unwrap().text().split('\n').nth(origin.line - 1).unwrap();
            if line.trim().is_empty() {
                continue;
            }
            let indentation = line.chars().take_while(|c| c.is_whitespace()).count();
            let origin = map.origin(path, at + 1, indentation + 1).unwrap();
            let rest: String = written.chars().skip(origin.column - 1).collect();
            assert_eq!(rest.trim_end(), line.trim(), "{path}:{} of {book:#?}", at + 1);
        }
    }
}
