// SPDX-License-Identifier: GPL-2.0

//! Shadow page tables: what the CPU uses in place of the Guest's own.
//!
//! They start empty. Every page fault is looked up in the Guest's tables, and what those say is
//! copied, one page at a time, with the Guest's idea of physical memory replaced by real frames.

use crate::{
    addr::{GuestPhys, GuestVirt},
    arch::{Budget, PinnedPage, Switcher, Tree, SLOT},
    kill::{kill, Alive, Death},
    memory::Memory,
    walk::{fault, walk, Mapping, Miss, Tables, LEVELS},
};
use kernel::{prelude::*, rbtree::RBTree, sync::Arc};

/// Address spaces that are remembered at once.
const TREES: usize = 4;

/// Pages that one Guest's shadow tables may take, beyond the top levels: 4 MiB.
const MAX_PAGES: usize = 1024;

/// What became of a page fault.
pub(crate) enum Fixed {
    /// The shadow maps the page now.
    Yes,
    /// It is the Guest's own fault, with this error code.
    No(u64),
}

/// One remembered address space.
struct Space {
    /// The Guest's name for it: the address of its top-level table.
    cr3: GuestPhys,
    tree: Tree,
}

/// All shadow tables of a Guest.
pub(crate) struct Shadow {
    spaces: KVec<Space>,
    /// The one in use.
    current: usize,
    budget: Budget,
    /// Everything from here up is the Guest kernel's, and the same in all address spaces.
    page_offset: GuestVirt,
    switcher: Arc<Switcher>,
    // After `spaces`, so that it is dropped after them: no table names a page that is not pinned.
    frames: Frames,
}

/// The Launcher's pages that shadow tables may name, by the Guest's frame number.
struct Frames(RBTree<u64, PinnedPage>);

impl Frames {
    /// The real page behind a frame of the Guest's. There is no other way to get one.
    fn get(&mut self, memory: &Memory, page: GuestPhys) -> Alive<&PinnedPage> {
        let frame = page.frame();
        if frame >= memory.pfn_limit() {
            kill!(
                "bad page table entry: frame {:#x} is beyond the limit",
                frame
            );
        }
        if self.0.get(&frame).is_none() {
            let Ok(pinned) = PinnedPage::new(memory.launcher_address(page)) else {
                kill!("failed to get page {:#x}", page.get());
            };
            if self
                .0
                .try_create_and_insert(frame, pinned, GFP_KERNEL_ACCOUNT)
                .is_err()
            {
                kill!("out of memory remembering page {:#x}", page.get());
            }
        }
        match self.0.get(&frame) {
            Some(pinned) => Ok(pinned),
            None => kill!("failed to get page {:#x}", page.get()),
        }
    }
}

impl Tables for Memory {
    type Error = Death;

    fn pfn_limit(&self) -> u64 {
        Memory::pfn_limit(self)
    }

    fn load(&self, at: GuestPhys) -> Alive<u64> {
        self.read(at)
    }

    fn store(&self, at: GuestPhys, entry: u64) -> Alive {
        self.write(at, &entry)
    }
}

impl Shadow {
    /// Shadow tables for a Guest that starts with the tables at `cr3`.
    pub(crate) fn new(
        switcher: Arc<Switcher>,
        cr3: GuestPhys,
        page_offset: GuestVirt,
    ) -> Result<Self> {
        let mut spaces = KVec::with_capacity(TREES, GFP_KERNEL)?;
        let tree = switcher.new_tree()?;
        spaces.push(Space { cr3, tree }, GFP_KERNEL)?;
        Ok(Self {
            spaces,
            current: 0,
            budget: Budget::new(MAX_PAGES),
            page_offset,
            switcher,
            frames: Frames(RBTree::new()),
        })
    }

    /// The Guest's CR3.
    pub(crate) fn cr3(&self) -> GuestPhys {
        self.spaces[self.current].cr3
    }

    /// The tree to run on.
    pub(crate) fn tree(&mut self) -> &mut Tree {
        &mut self.spaces[self.current].tree
    }

    /// Whether an address belongs to the Switcher: slot 256 of the Guest's four levels, wherever the
    /// Switcher really is, and the slot of the Host's five.
    pub(crate) fn is_switchers(&self, address: GuestVirt) -> bool {
        let slot = address.is_canonical() && address.index(LEVELS) == SLOT;
        slot || self.switcher.owns(address.get())
    }

    /// Look an address up in the Guest's tables.
    fn look_up(
        &self,
        memory: &Memory,
        address: GuestVirt,
        access: u64,
    ) -> Alive<core::result::Result<Mapping, u64>> {
        if !address.is_canonical() {
            // Five levels on the Host: the CPU has looked, but the Guest has no such address.
            return Ok(Err(access & !fault::PRESENT));
        }
        match walk(memory, self.cr3(), address, access) {
            Ok(mapping) => Ok(Ok(mapping)),
            Err(Miss::Fault(error)) => Ok(Err(error)),
            Err(Miss::BadEntry(entry, 1)) => kill!("bad page table entry {:#x}", entry),
            Err(Miss::BadEntry(entry, level)) => {
                kill!("bad page directory entry {:#x} at level {}", entry, level)
            }
            Err(Miss::Memory(death)) => Err(death),
        }
    }

    /// Where an address leads, for us to read or write in the Guest's name.
    pub(crate) fn translate(
        &self,
        memory: &Memory,
        address: GuestVirt,
        access: u64,
    ) -> Alive<Option<GuestPhys>> {
        let mapping = self.look_up(memory, address, access)?.ok();
        Ok(mapping.and_then(|mapping| mapping.page.checked_add(address.page_offset())))
    }

    /// A page fault at `address`, with the CPU's error code.
    pub(crate) fn demand_page(
        &mut self,
        memory: &Memory,
        address: GuestVirt,
        error: u64,
    ) -> Alive<Fixed> {
        if self.is_switchers(address) {
            if error & fault::USER != 0 {
                return Ok(Fixed::No(error));
            }
            kill!("attempt to access switcher pages at {:#x}", address.get());
        }
        let access = error & (fault::WRITE | fault::USER | fault::FETCH);
        let mapping = match self.look_up(memory, address, access)? {
            Ok(mapping) => mapping,
            Err(error) => return Ok(Fixed::No(error)),
        };
        let page = self.frames.get(memory, mapping.page)?;
        let tree = &mut self.spaces[self.current].tree;
        let mut mapped = tree.map(address, page, &mapping, &mut self.budget);
        if mapped == Err(ENOSPC) {
            // The budget is used up: start again with nothing. What is needed comes back.
            for space in &mut self.spaces {
                space.tree.forget_all(&mut self.budget);
            }
            mapped = self.spaces[self.current]
                .tree
                .map(address, page, &mapping, &mut self.budget);
        }
        match mapped {
            Ok(true) => Ok(Fixed::Yes),
            // The shadow said so already, so the CPU had another reason: SMEP, SMAP, a protection key.
            Ok(false) => Ok(Fixed::No(access | fault::PRESENT)),
            Err(_) => kill!("out of memory allocating pte page"),
        }
    }

    /// `NEW_PGTABLE`: use the tables at `cr3` from now on.
    pub(crate) fn switch_to(&mut self, memory: &Memory, cr3: GuestPhys) -> Alive {
        if cr3.page_offset() != 0 || !memory.contains(cr3, crate::abi::PAGE_SIZE) {
            kill!("bad page directory {:#x}", cr3.get());
        }
        if let Some(known) = self.spaces.iter().position(|space| space.cr3 == cr3) {
            self.current = known;
            return Ok(());
        }
        if self.spaces.len() < TREES {
            let tree = self.switcher.new_tree().map_err(|_| out_of_memory())?;
            let space = Space { cr3, tree };
            self.spaces
                .push_within_capacity(space)
                .map_err(|_| out_of_memory())?;
            self.current = self.spaces.len() - 1;
            return Ok(());
        }
        // The next in turn gives up its place; it is the oldest, or nearly.
        self.current = (self.current + 1) % TREES;
        let space = &mut self.spaces[self.current];
        space.tree.forget_all(&mut self.budget);
        space.cr3 = cr3;
        Ok(())
    }

    /// An entry of the Guest's tables has changed: forget what was learned from it.
    pub(crate) fn entry_changed(
        &mut self,
        cr3: GuestPhys,
        address: GuestVirt,
        level: u32,
    ) -> Alive {
        if self.is_switchers(address) {
            kill!("attempt to access switcher pages at {:#x}", address.get());
        }
        if !address.is_canonical() || !(1..=LEVELS).contains(&level) {
            return Ok(());
        }
        let everywhere = address >= self.page_offset;
        for space in &mut self.spaces {
            if everywhere || space.cr3 == cr3 {
                space.tree.forget(address, level, &mut self.budget);
            }
        }
        Ok(())
    }

    /// Forget all addresses below the Guest's kernel, in the current address space.
    pub(crate) fn flush_user(&mut self) {
        let tree = &mut self.spaces[self.current].tree;
        for index in 0..512u64 {
            // The 512 entries at level 4, sign-extended.
            let address = GuestVirt::new(((index << 55) as i64 >> 16) as u64);
            if address < self.page_offset {
                tree.forget(address, LEVELS, &mut self.budget);
            }
        }
    }

    /// Forget everything, in all address spaces.
    pub(crate) fn flush_all(&mut self) {
        for space in &mut self.spaces {
            space.tree.forget_all(&mut self.budget);
        }
    }
}

fn out_of_memory() -> Death {
    Death::new(fmt!("out of memory allocating pgd page"))
}
