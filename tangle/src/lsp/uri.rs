//! Paths, and the URIs by which editors name them.

use std::path::{Path, PathBuf};

use lsp_types::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What is written as `%XX` in a path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The URI of the file at `path`, which must be absolute.
pub fn from_path(path: &Path) -> Uri {
    format!(
        "file://{}",
        percent_encode(path.as_os_str().as_encoded_bytes(), ESCAPED)
    )
    .parse()
    .expect("nothing is left that could be wrong in a URI")
}

/// The path of a `file:` URI.
pub fn to_path(uri: &Uri) -> Option<PathBuf> {
    let rest = uri.as_str().strip_prefix("file://")?;
    // The name of a host, which is that of this machine, ends at the first slash.
    let path = &rest[rest.find('/')?..];
    let path = path.split(['?', '#']).next()?;
    Some(PathBuf::from(percent_decode_str(path).decode_utf8().ok()?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives() {
        for path in ["/a/b.md", "/a b/ü#?%41.md", "/[x]/+(y)"] {
            assert_eq!(to_path(&from_path(Path::new(path))).as_deref(), Some(Path::new(path)));
        }
    }

    #[test]
    fn every_spelling_is_understood() {
        let path = |text: &str| to_path(&text.parse().unwrap());
        assert_eq!(path("file:///a/b%20c.rs"), Some("/a/b c.rs".into()));
        assert_eq!(path("file://localhost/a"), Some("/a".into()));
        assert_eq!(path("untitled:Untitled-1"), None);
    }
}
