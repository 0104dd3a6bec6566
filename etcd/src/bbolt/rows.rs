//! Walking a bucket's tree in the order of its keys.

use super::file::BoltFile;
use super::page::{LeafElement, TreePage};
use super::reader::{Pages, Root};
use bytes::Bytes;
use coffer_core::storage::StorageError;
use std::sync::Arc;

/// Levels that no tree of this size has: a page has at least two children, and files have fewer than 2^64 pages.
const DEPTH_MAX: usize = 64;

pub(super) type Element = LeafElement;

/// The rows of a bucket. Ends after the first error.
#[derive(Debug)]
pub struct Rows {
    walk: Option<Walk>,
}

impl Rows {
    pub(super) fn new(walk: Walk) -> Self {
        Self { walk: Some(walk) }
    }
}

impl Iterator for Rows {
    type Item = Result<(Bytes, Bytes), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let walk = self.walk.as_mut()?;
        let row = match walk.next_element() {
            Ok(Some(element)) if element.is_bucket => {
                Err(walk.file().corrupt(element.value_offset, "a row", "a bucket within a bucket"))
            }
            Ok(element) => Ok(element.map(|element| (element.key, element.value))),
            Err(error) => Err(error),
        };
        if !matches!(row, Ok(Some(_))) {
            self.walk = None;
        }
        row.transpose()
    }
}

/// A walk over a tree, from one leaf's element to the next.
#[derive(Debug)]
pub(super) struct Walk {
    pages: Arc<Pages>,
    /// What to begin with, until that is done.
    root: Option<Root>,
    /// The pages from the root down, each with the element that comes next.
    path: Vec<(TreePage, usize)>,
    /// Whether each page is entered at its last element.
    from_last: bool,
    /// Pages that may still be visited: each page of a file belongs to one place.
    pages_left: u64,
    last_key: Option<Bytes>,
}

impl Walk {
    pub(super) fn new(pages: Arc<Pages>, root: Root) -> Self {
        let pages_left = pages.count;
        Self { pages, root: Some(root), path: Vec::new(), from_last: false, pages_left, last_key: None }
    }

    /// A walk that begins with the last element.
    pub(super) fn last(pages: Arc<Pages>, root: Root) -> Self {
        Self { from_last: true, ..Self::new(pages, root) }
    }

    /// The next element; `None` at the end. After an error it is of no use.
    pub(super) fn next_element(&mut self) -> Result<Option<LeafElement>, StorageError> {
        match self.root.take() {
            Some(Root::Page(id)) => self.enter(id, 0)?,
            Some(Root::Inline { page, offset }) => {
                let page = TreePage::parse(self.file(), page, offset)?;
                if !page.is_leaf() {
                    return Err(self.file().corrupt(offset, "an inline leaf", "a branch"));
                }
                self.push(page);
            }
            None => {}
        }
        loop {
            let Some((page, next)) = self.path.last_mut() else { return Ok(None) };
            if *next == page.count() {
                self.path.pop();
                continue;
            }
            let index = *next;
            *next += 1;
            if page.is_leaf() {
                let element = page.leaf_element(&self.pages.file, index)?;
                let offset = page.element_offset(index);
                return self.in_order(element, offset).map(Some);
            }
            let (child, from) = (page.child(&self.pages.file, index)?, page.element_offset(index));
            self.enter(child, from)?;
        }
    }

    pub(super) fn file(&self) -> &BoltFile {
        &self.pages.file
    }

    fn enter(&mut self, id: u64, from: u64) -> Result<(), StorageError> {
        if self.path.len() >= DEPTH_MAX {
            return Err(self.file().corrupt(
                from,
                format!("at most {DEPTH_MAX} levels of a tree"),
                "another one",
            ));
        }
        let (page, pages) = self.pages.load(id, from)?;
        let Some(left) = self.pages_left.checked_sub(pages) else {
            return Err(self.file().corrupt(from, "a page that is met once", format!("page {id} again")));
        };
        self.pages_left = left;
        self.push(page);
        Ok(())
    }

    fn push(&mut self, page: TreePage) {
        let next = if self.from_last { page.count().saturating_sub(1) } else { 0 };
        self.path.push((page, next));
    }

    fn in_order(&mut self, element: LeafElement, offset: u64) -> Result<LeafElement, StorageError> {
        if self.last_key.as_ref().is_some_and(|last| *last >= element.key) {
            return Err(self.file().corrupt(offset, "a key above the one before", "one that is not"));
        }
        self.last_key = Some(element.key.clone());
        Ok(element)
    }
}
