//! Finds the chapter lines behind `symbol+0x12/0x40`, as a kernel prints addresses, through the DWARF of its objects.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gimli::{EndianRcSlice, RunTimeEndian};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex};

use super::locate::Locator;

/// A `symbol+offset` inside a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it lies in the line, together with the module in brackets.
    pub range: Range<usize>,
    /// The symbol, or a section that begins with a dot.
    pub symbol: String,
    /// The offset into it.
    pub offset: u64,
    /// The size of the whole symbol, if it is given.
    pub size: Option<u64>,
    /// The kernel module in brackets behind it.
    pub module: Option<String>,
    /// The object file that the line begins with.
    pub object: Option<String>,
    /// The address of an instruction, not the one behind a call.
    pub exact: bool,
}

/// All `symbol+offset` in `line`.
#[must_use]
pub fn find(line: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let is_symbol = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
    for (plus, _) in line.match_indices("+0x") {
        let start = line[..plus]
            .rfind(|c| !is_symbol(c))
            .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
        let symbol = &line[start..plus];
        let Some((offset, mut end)) = hex(line, plus + 1) else {
            continue;
        };
        if !symbol.starts_with(|c: char| c.is_ascii_alphabetic() || "_.".contains(c)) {
            continue;
        }
        let mut size = None;
        if let Some((value, behind)) = line[end..].strip_prefix('/').and_then(|_| hex(line, end + 1)) {
            size = Some(value);
            end = behind;
        }
        let mut module = None;
        if let Some(rest) = line[end..].strip_prefix(" [")
            && let Some(close) = rest.find(']')
        {
            // A build id may follow the name.
            module = rest[..close].split(' ').next().map(str::to_owned);
            end += " [".len() + close + 1;
        }
        let object = line[..start]
            .split([':', ' ', '(', ')'])
            .find(|word| [".o", ".ko"].iter().any(|kind| word.ends_with(kind)))
            .map(str::to_owned);
        let exact = object.is_some() || line.contains("RIP:") || line.contains("pc :");
        found.push(Found {
            range: start..end,
            symbol: symbol.to_owned(),
            offset,
            size,
            module,
            object,
            exact,
        });
    }
    found
}

fn hex(line: &str, at: usize) -> Option<(u64, usize)> {
    let digits = line[at..].strip_prefix("0x")?;
    let length = digits.len() - digits.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
    let value = u64::from_str_radix(&digits[..length], 16).ok()?;
    Some((value, at + 2 + length))
}

/// Object files, each read when it is needed first.
#[derive(Debug, Default)]
pub struct Objects {
    /// Files, and directories to look for kernel modules in.
    places: Vec<PathBuf>,
    read: HashMap<PathBuf, Option<Rc<Image>>>,
}

impl Objects {
    /// Looks for objects in `places`: they are files, or directories with kernel modules in them.
    #[must_use]
    pub fn new(places: Vec<PathBuf>) -> Self {
        Self {
            places,
            read: HashMap::new(),
        }
    }

    /// Where in the chapters `found` lies, as it is put behind it: the innermost place first, then the callers that it
    /// was inlined into. `None` if it is no code of the book.
    pub fn frames(&mut self, found: &Found, locator: &Locator) -> Option<String> {
        let files = match &found.object {
            Some(object) => vec![PathBuf::from(object)],
            None => self.candidates(found.module.as_deref()),
        };
        let mut text = String::new();
        for path in files {
            let Some(image) = self.image(&path) else { continue };
            for (file, line, column) in image.locations(found) {
                let Some(generated) = locator.generated(&file) else {
                    continue;
                };
                let Some(location) = locator.locate(generated, line, column.max(1)) else {
                    continue;
                };
                let how = if text.is_empty() { " at " } else { ", inlined at " };
                write!(text, "{how}{}:{}", location.chapter, location.line).expect("strings take everything");
                if column > 0 {
                    write!(text, ":{}", location.column).expect("strings take everything");
                }
            }
            if !text.is_empty() {
                return Some(text);
            }
        }
        None
    }

    /// The files that may hold a symbol of the kernel module `module`, or of a program.
    fn candidates(&self, module: Option<&str>) -> Vec<PathBuf> {
        let wanted = module.map(|module| module.replace('-', "_"));
        let mut files = Vec::new();
        for place in &self.places {
            if place.is_dir() {
                collect(place, 0, &mut files);
            } else {
                files.push(place.clone());
            }
        }
        files.retain(|file| {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
            let is_module = file.extension().is_some_and(|extension| extension == "ko");
            match &wanted {
                Some(wanted) => !is_module || stem == *wanted,
                None => !is_module,
            }
        });
        files
    }

    fn image(&mut self, path: &Path) -> Option<Rc<Image>> {
        if let Some(known) = self.read.get(path) {
            return known.clone();
        }
        let image = fs::read(path).ok().and_then(|data| Image::read(&data)).map(Rc::new);
        self.read.insert(path.to_owned(), image.clone());
        image
    }
}

/// How deep kernel modules are looked for.
const DEPTH: usize = 6;

fn collect(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < DEPTH {
            collect(&path, depth + 1, files);
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "ko") {
            files.push(path);
        }
    }
}

type Reader = EndianRcSlice<RunTimeEndian>;

/// An object file.
struct Image {
    symbols: HashMap<String, Vec<(u64, u64)>>,
    lines: addr2line::Context<Reader>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image")
            .field("symbols", &self.symbols.len())
            .finish_non_exhaustive()
    }
}

impl Image {
    fn read(data: &[u8]) -> Option<Self> {
        let file = object::File::parse(data).ok()?;
        let relocatable = file.kind() == object::ObjectKind::Relocatable;
        // The sections of an object that is not linked yet all begin at 0; here each gets a place of its own.
        let mut places: HashMap<SectionIndex, u64> = HashMap::new();
        let mut symbols: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
        let mut next = 0x1000;
        for section in file.sections() {
            let allocated = matches!(section.flags(), object::SectionFlags::Elf { sh_flags, .. }
                if sh_flags.0 & object::elf::SHF_ALLOC.0 != 0);
            if relocatable && allocated {
                places.insert(section.index(), next);
                next += (section.size() + 0xfff) & !0xfff;
            }
            if let Ok(name) = section.name() {
                let start = places.get(&section.index()).copied().unwrap_or(section.address());
                symbols
                    .entry(name.to_owned())
                    .or_default()
                    .push((start, section.size()));
            }
        }
        let address = |symbol: &object::Symbol| {
            let place = symbol.section_index().and_then(|section| places.get(&section));
            symbol.address() + place.copied().unwrap_or(0)
        };
        for symbol in file.symbols().filter(ObjectSymbol::is_definition) {
            if let Ok(name) = symbol.name() {
                symbols
                    .entry(name.to_owned())
                    .or_default()
                    .push((address(&symbol), symbol.size()));
            }
        }
        let endian = if file.is_little_endian() {
            RunTimeEndian::Little
        } else {
            RunTimeEndian::Big
        };
        let load = |id: gimli::SectionId| -> Result<Reader, gimli::Error> {
            let mut bytes = Vec::new();
            if let Some(section) = file.section_by_name(id.name()) {
                bytes = section
                    .uncompressed_data()
                    .map(std::borrow::Cow::into_owned)
                    .unwrap_or_default();
                if relocatable {
                    for (offset, relocation) in section.relocations() {
                        let RelocationTarget::Symbol(index) = relocation.target() else {
                            continue;
                        };
                        let Ok(symbol) = file.symbol_by_index(index) else {
                            continue;
                        };
                        if relocation.kind() != object::RelocationKind::Absolute {
                            continue;
                        }
                        let value = address(&symbol).wrapping_add_signed(relocation.addend());
                        let size = usize::from(relocation.size() / 8);
                        let at = usize::try_from(offset).unwrap_or(usize::MAX);
                        let Some(target) = bytes.get_mut(at..at.saturating_add(size)) else {
                            continue;
                        };
                        match endian {
                            RunTimeEndian::Little => target.copy_from_slice(&value.to_le_bytes()[..size]),
                            RunTimeEndian::Big => target.copy_from_slice(&value.to_be_bytes()[8 - size..]),
                        }
                    }
                }
            }
            Ok(EndianRcSlice::new(Rc::from(bytes), endian))
        };
        let dwarf = gimli::Dwarf::load(load).ok()?;
        let lines = addr2line::Context::from_dwarf(dwarf).ok()?;
        Some(Self { symbols, lines })
    }

    /// File, line and column of `found`, the innermost first.
    fn locations(&self, found: &Found) -> Vec<(String, usize, usize)> {
        let mut locations = Vec::new();
        let known = self.symbols.get(&found.symbol).map(Vec::as_slice).unwrap_or_default();
        let start = known
            .iter()
            .find(|(_, size)| found.size.is_none_or(|wanted| wanted == *size))
            .or(known.first());
        let Some((start, _)) = start else { return locations };
        let address = start + found.offset - u64::from(!found.exact && found.offset > 0);
        let Ok(mut frames) = self.lines.find_frames(address).skip_all_loads() else {
            return locations;
        };
        while let Ok(Some(frame)) = frames.next() {
            if let Some(location) = frame.location
                && let (Some(file), Some(line)) = (location.file, location.line)
            {
                locations.push((file.to_owned(), line as usize, location.column.unwrap_or(0) as usize));
            }
        }
        locations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_in_the_lines_of_a_kernel() {
        let line = "[    1.5]  ? _RNv_run+0x12/0x40 [lguest 1234abcd]";
        let found = find(line);
        assert_eq!(found.len(), 1);
        let one = &found[0];
        assert_eq!(
            (one.symbol.as_str(), one.offset, one.size),
            ("_RNv_run", 0x12, Some(0x40))
        );
        assert_eq!((one.module.as_deref(), one.exact), (Some("lguest"), false));
        assert_eq!(&line[one.range.clone()], "_RNv_run+0x12/0x40 [lguest 1234abcd]");
        let one = &find("RIP: 0010:run+0x0/0x4")[0];
        assert_eq!(
            (one.symbol.as_str(), one.exact, one.module.as_deref()),
            ("run", true, None)
        );
        let one = &find("a/b.o: warning: objtool: f+0x1c: unreachable")[0];
        assert_eq!(one.object.as_deref(), Some("a/b.o"));
        assert_eq!(find("1+0x2, RAX: 0+0x"), []);
    }
}
