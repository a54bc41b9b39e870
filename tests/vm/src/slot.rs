//! Where this Host's Switcher is: the area of the slot that each virtual CPU has.

use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL};
use crate::harness::{Outcome, check};
use crate::host;
use crate::layout::PAGE;
use object::{Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget};

/// How far the areas of two virtual CPUs are apart.
pub const AREA: u64 = 2 << 20;
/// Pages of an area.
pub const PAGES: u64 = AREA / PAGE;

/// The first address of the slot.
pub fn base() -> u64 {
    if host::five_levels() {
        SWITCHER_5LEVEL
    } else {
        SWITCHER_4LEVEL
    }
}

/// The first address of an area, with the module loaded as `fixed=1`. Numbers are given out from 0 on, the lowest that is
/// free, so a Guest that is alone has 0.
pub fn area(number: usize) -> u64 {
    base() + number as u64 * AREA
}

/// How far into the Switcher's code the place is where ring 1 pushes the frame of a page fault that visits nobody.
pub fn landing() -> Outcome<u64> {
    let path = host::module_file()?;
    let file = std::fs::read(&path).map_err(|e| format!("{path}: {e}"))?;
    let file = object::File::parse(&*file).map_err(|e| format!("{path}: {e}"))?;
    let symbol = |name| {
        let symbol = file.symbol_by_name(name);
        symbol.ok_or_else(|| format!("{path} has no {name}"))
    };
    Ok(symbol("lguest_landing")?.address() - symbol("lguest_switcher")?.address())
}

/// The Switcher's code as the module's file has it.
pub fn code() -> Outcome<Vec<u8>> {
    let path = host::module_file()?;
    let file = std::fs::read(&path).map_err(|e| format!("{path}: {e}"))?;
    let file = object::File::parse(&*file).map_err(|e| format!("{path}: {e}"))?;
    let symbol = |name| {
        file.symbol_by_name(name)
            .ok_or_else(|| format!("{path} has no {name}"))
    };
    let (first, end) = (symbol("lguest_switcher")?, symbol("lguest_switcher_end")?);
    let index = first.section_index().ok_or("lguest_switcher is nowhere")?;
    let section = file.section_by_index(index).map_err(|e| e.to_string())?;
    let data = section.data().map_err(|e| e.to_string())?;
    let code = data.get(first.address() as usize..end.address() as usize);
    let code = code.ok_or("lguest_switcher has no end")?;
    check!(code.len() > 16, "there is hardly a Switcher in {path}");
    let mut code = code.to_vec();
    relocate(&mut code, first.address(), &file, &section)?;
    Ok(code)
}

/// Fills in what the loader would where the code refers to itself. It may refer to nothing else: each Guest can read it.
fn relocate<'data>(
    code: &mut [u8],
    start: u64,
    file: &object::File<'data>,
    section: &object::Section<'data, '_>,
) -> Outcome {
    for (at, relocation) in section.relocations() {
        let Some(place) = at.checked_sub(start).map(|at| at as usize) else {
            continue;
        };
        let Some(word) = code.get_mut(place..place + 4) else {
            continue;
        };
        let RelocationTarget::Symbol(index) = relocation.target() else {
            return Err(format!("the Switcher refers to something at {at:#x}"));
        };
        let symbol = file.symbol_by_index(index).map_err(|e| e.to_string())?;
        let relative = matches!(
            relocation.kind(),
            RelocationKind::Relative | RelocationKind::PltRelative
        );
        if !relative || relocation.size() != 32 || symbol.section_index() != Some(section.index()) {
            return Err(format!("the Switcher refers to {:?}", symbol.name()));
        }
        let distance = (symbol.address() as i64 + relocation.addend() - at as i64) as i32;
        word.copy_from_slice(&distance.to_le_bytes());
    }
    Ok(())
}
