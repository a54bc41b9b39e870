//! Finds the chapter lines behind `symbol+0x12/0x40`, as a kernel prints addresses, through the DWARF of its objects.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gimli::{EndianRcSlice, RunTimeEndian};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex};

use super::locate::{Location, Locator};

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

/// A symbol that the linker of kernel modules misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub symbol: String,
    /// The name of the object file that wants it.
    pub object: String,
}

/// What modpost misses, if that is what `line` is about.
#[must_use]
pub fn missing(line: &str) -> Option<Missing> {
    let complaint = line.split_once("modpost: ")?.1.trim_end().strip_suffix(" undefined!")?;
    let module = complaint
        .split([' ', '[', ']', ':', '/'])
        .find_map(|word| word.strip_suffix(".ko"))?;
    let symbol = complaint.split(['\'', '"']).nth(1)?;
    Some(Missing {
        symbol: symbol.to_owned(),
        object: format!("{module}.o"),
    })
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
            Some(object) => self.named(object),
            None => self.candidates(found.module.as_deref()),
        };
        files.into_iter().find_map(|path| {
            let image = self.image(&path)?;
            let frames = image.frames(image.address(found)?, locator);
            (!frames.is_empty()).then(|| format!(" at {}", frames.join(", inlined at ")))
        })
    }

    /// Where in the chapters the `missing` symbol is used, as it is put behind the complaint.
    pub fn uses(&mut self, missing: &Missing, locator: &Locator) -> Option<String> {
        self.named(&missing.object).into_iter().find_map(|path| {
            let image = self.image(&path)?;
            let mut places: Vec<String> = Vec::new();
            for &address in image.uses.get(&missing.symbol)? {
                // All that was inlined around it is one use.
                let Some(place) = image.frames(address, locator).into_iter().next() else {
                    continue;
                };
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            (!places.is_empty()).then(|| format!(" at {}", places.join(", ")))
        })
    }

    /// The object file `name`: from here, or wherever objects are.
    fn named(&self, name: &str) -> Vec<PathBuf> {
        let path = PathBuf::from(name);
        if path.is_file() {
            return vec![path];
        }
        let mut files = self.files(&|file| file.ends_with(&path));
        if files.is_empty() {
            files = self.files(&|file| file.file_name() == path.file_name());
        }
        files
    }

    /// The places that are files, and the files in the others that are `wanted`.
    fn files(&self, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for place in &self.places {
            if place.is_dir() {
                collect(place, 0, wanted, &mut files);
            } else {
                files.push(place.clone());
            }
        }
        files
    }

    /// The files that may hold a symbol of the kernel module `module`, or of a program.
    fn candidates(&self, module: Option<&str>) -> Vec<PathBuf> {
        let wanted = module.map(|module| module.replace('-', "_"));
        let mut files = self.files(&is_module);
        files.retain(|file| {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
            match &wanted {
                Some(wanted) => !is_module(file) || stem == *wanted,
                None => !is_module(file),
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

fn is_module(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "ko")
}

/// How deep objects are looked for.
const DEPTH: usize = 6;

fn collect(directory: &Path, depth: usize, wanted: &dyn Fn(&Path) -> bool, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < DEPTH {
            collect(&path, depth + 1, wanted, files);
        } else if kind.is_file() && wanted(&path) {
            files.push(path);
        }
    }
}

type Reader = EndianRcSlice<RunTimeEndian>;

/// An object file.
struct Image {
    /// Address and size of every symbol and section.
    symbols: HashMap<String, Vec<(u64, u64)>>,
    /// Where the symbols are used that this object does not have.
    uses: HashMap<String, Vec<u64>>,
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
        let uses = uses(&file, &places);
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
        Some(Self { symbols, uses, lines })
    }

    /// Where `found` lies.
    fn address(&self, found: &Found) -> Option<u64> {
        let known = self.symbols.get(&found.symbol)?;
        let (start, _) = known
            .iter()
            .find(|(_, size)| found.size.is_none_or(|wanted| wanted == *size))
            .or(known.first())?;
        // The address behind a call may belong to the next line already.
        Some(start + found.offset - u64::from(!found.exact && found.offset > 0))
    }

    /// The places in the chapters that `address` is, the innermost first, then those that it was inlined into.
    fn frames(&self, address: u64, locator: &Locator) -> Vec<String> {
        let mut places = Vec::new();
        let Ok(mut frames) = self.lines.find_frames(address).skip_all_loads() else {
            return places;
        };
        while let Ok(Some(frame)) = frames.next() {
            let Some(location) = frame.location else { continue };
            let (Some(file), Some(line)) = (location.file, location.line) else {
                continue;
            };
            let column = location.column.unwrap_or(0) as usize;
            let place = locator
                .generated(file)
                .and_then(|file| locator.locate(file, line as usize, column.max(1)));
            if let Some(Location {
                chapter,
                line,
                column: there,
                ..
            }) = place
            {
                places.push(if column > 0 {
                    format!("{chapter}:{line}:{there}")
                } else {
                    format!("{chapter}:{line}")
                });
            }
        }
        places
    }
}

/// Where code of `file`, whose sections lie at `places`, uses symbols that it does not have.
fn uses(file: &object::File, places: &HashMap<SectionIndex, u64>) -> HashMap<String, Vec<u64>> {
    let mut uses: HashMap<String, Vec<u64>> = HashMap::new();
    for section in file.sections() {
        let Some(place) = places.get(&section.index()) else {
            continue;
        };
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                continue;
            };
            let symbol = file.symbol_by_index(index).ok().filter(ObjectSymbol::is_undefined);
            if let Some(Ok(name)) = symbol.map(|symbol| symbol.name()) {
                uses.entry(name.to_owned()).or_default().push(place + offset);
            }
        }
    }
    uses
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

    #[test]
    fn what_modpost_misses() {
        for line in [
            "ERROR: modpost: m.ko: symbol 'nowhere' undefined!",
            "ERROR: modpost: \"nowhere\" [drivers/x/m.ko] undefined!",
        ] {
            let missing = missing(line).unwrap();
            assert_eq!((missing.symbol.as_str(), missing.object.as_str()), ("nowhere", "m.o"));
        }
        assert_eq!(missing("WARNING: modpost: missing MODULE_DESCRIPTION() in m.o"), None);
    }
}
