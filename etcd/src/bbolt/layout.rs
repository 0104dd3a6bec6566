//! Which page everything goes to: the same steps whether only sizes are known or the rows themselves.
//!
//! # Order
//! Two meta pages, the page of free pages (there are none), then the buckets one after the other, then the bucket of
//! buckets. A tree is built from its leaves: a page is placed when the next row does not fit, and a branch right behind
//! the pages that it refers to. So one page of each level is open at a time.
//!
//! # Invariants
//! - [`Measure`] and the writer run the same [`Layout`], so that they cannot come to different ends.
//! - A row that does not fit into a page is alone in one with overflow. A branch has two children at least, except the
//!   last one of its level.

use super::page::{ELEMENT_BYTES, PAGE_HEADER_BYTES};

pub(super) const PAGE_BYTES: usize = 4096;
/// The page of free pages.
pub(super) const FREELIST_PAGE: u64 = 2;
const FIRST_TREE_PAGE: u64 = 3;
/// Bytes of the value that describes a bucket.
pub(super) const BUCKET_BYTES: usize = 16;

/// A key or a value, or only its length.
pub(super) trait Piece: Clone {
    fn bytes(&self) -> usize;
}

/// The length of a key or a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length(pub(super) usize);

impl Piece for Length {
    fn bytes(&self) -> usize {
        self.0
    }
}

impl Piece for bytes::Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// What an element of a leaf says of its key.
#[derive(Clone, Debug)]
pub(super) enum Content<P> {
    Value(P),
    /// A bucket with this root page.
    Bucket(u64),
}

impl<P: Piece> Content<P> {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.bytes(),
            Self::Bucket(_) => BUCKET_BYTES,
        }
    }
}

/// Where finished pages go. They come in the order of their ids, without gaps.
pub(super) trait Output<P> {
    fn leaf(&mut self, id: u64, overflow: u32, elements: &[(P, Content<P>)]);
    fn branch(&mut self, id: u64, overflow: u32, children: &[(P, u64)]);
}

/// Nowhere.
pub(super) struct Nothing;

impl<P> Output<P> for Nothing {
    fn leaf(&mut self, _: u64, _: u32, _: &[(P, Content<P>)]) {}
    fn branch(&mut self, _: u64, _: u32, _: &[(P, u64)]) {}
}

/// How large a file will be, and where its tree begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Root page of the bucket of buckets.
    pub(super) root: u64,
    pub(super) pages: u64,
}

impl Plan {
    /// Length of the file: a multiple of 4096.
    pub fn file_bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

/// Lays out a file from the sizes of its rows.
#[derive(Debug)]
pub struct Measure {
    layout: Layout<Length>,
}

impl Default for Measure {
    fn default() -> Self {
        Self::new()
    }
}

impl Measure {
    /// Begins with an empty file.
    pub fn new() -> Self {
        Self { layout: Layout::new() }
    }

    /// Begins a bucket, whose name is above those before it.
    pub fn bucket(&mut self, name_bytes: usize) {
        self.layout.bucket(Length(name_bytes), &mut Nothing);
    }

    /// Takes a row of the bucket, whose key is above those before it.
    pub fn row(&mut self, key_bytes: usize, value_bytes: usize) {
        self.layout.row(Length(key_bytes), Length(value_bytes), &mut Nothing);
    }

    /// Ends the file.
    pub fn finish(self) -> Plan {
        self.layout.finish(&mut Nothing)
    }
}

/// A file in the making.
#[derive(Debug)]
pub(super) struct Layout<P> {
    next_page: u64,
    buckets: Vec<(P, Content<P>)>,
    open: Option<(P, Tree<P>)>,
}

impl<P: Piece> Layout<P> {
    pub(super) fn new() -> Self {
        Self { next_page: FIRST_TREE_PAGE, buckets: Vec::new(), open: None }
    }

    /// Pages that are placed.
    pub(super) fn pages(&self) -> u64 {
        self.next_page
    }

    pub(super) fn bucket(&mut self, name: P, out: &mut impl Output<P>) {
        self.close(out);
        self.open = Some((name, Tree::default()));
    }

    pub(super) fn row(&mut self, key: P, value: P, out: &mut impl Output<P>) {
        if let Some((_, tree)) = &mut self.open {
            tree.push(key, Content::Value(value), &mut self.next_page, out);
        }
    }

    pub(super) fn finish(mut self, out: &mut impl Output<P>) -> Plan {
        self.close(out);
        let mut root = Tree::default();
        for (name, bucket) in self.buckets {
            root.push(name, bucket, &mut self.next_page, out);
        }
        let root = root.finish(&mut self.next_page, out);
        Plan { root, pages: self.next_page }
    }

    fn close(&mut self, out: &mut impl Output<P>) {
        if let Some((name, tree)) = self.open.take() {
            let root = tree.finish(&mut self.next_page, out);
            self.buckets.push((name, Content::Bucket(root)));
        }
    }
}

/// A tree in the making: the open page of each level.
#[derive(Debug)]
struct Tree<P> {
    leaf: Vec<(P, Content<P>)>,
    leaf_bytes: usize,
    /// From the level above the leaves upwards.
    branches: Vec<Branch<P>>,
}

#[derive(Debug)]
struct Branch<P> {
    children: Vec<(P, u64)>,
    bytes: usize,
}

impl<P> Default for Tree<P> {
    fn default() -> Self {
        Self { leaf: Vec::new(), leaf_bytes: PAGE_HEADER_BYTES, branches: Vec::new() }
    }
}

impl<P: Piece> Tree<P> {
    fn push(&mut self, key: P, content: Content<P>, next_page: &mut u64, out: &mut impl Output<P>) {
        let bytes = ELEMENT_BYTES + key.bytes() + content.bytes();
        if !self.leaf.is_empty() && self.leaf_bytes + bytes > PAGE_BYTES {
            self.place_leaf(next_page, out);
        }
        self.leaf.push((key, content));
        self.leaf_bytes += bytes;
    }

    /// Places what is open; returns the root.
    fn finish(mut self, next_page: &mut u64, out: &mut impl Output<P>) -> u64 {
        if self.branches.is_empty() {
            let id = take(next_page, self.leaf_bytes);
            out.leaf(id, overflow(self.leaf_bytes), &self.leaf);
            return id;
        }
        self.place_leaf(next_page, out);
        let mut level = 0;
        loop {
            let is_top = level + 1 == self.branches.len();
            match self.branches.get(level).map(|branch| &branch.children[..]) {
                Some([(_, only)]) if is_top => return *only,
                _ => self.place_branch(level, next_page, out),
            }
            level += 1;
        }
    }

    fn place_leaf(&mut self, next_page: &mut u64, out: &mut impl Output<P>) {
        let Some((first, _)) = self.leaf.first() else { return };
        let first = first.clone();
        let bytes = std::mem::replace(&mut self.leaf_bytes, PAGE_HEADER_BYTES);
        let id = take(next_page, bytes);
        out.leaf(id, overflow(bytes), &self.leaf);
        self.leaf.clear();
        self.adopt(0, first, id, next_page, out);
    }

    fn place_branch(&mut self, level: usize, next_page: &mut u64, out: &mut impl Output<P>) {
        let branch = &mut self.branches[level];
        let Some((first, _)) = branch.children.first() else { return };
        let first = first.clone();
        let bytes = std::mem::replace(&mut branch.bytes, PAGE_HEADER_BYTES);
        let id = take(next_page, bytes);
        out.branch(id, overflow(bytes), &branch.children);
        branch.children.clear();
        self.adopt(level + 1, first, id, next_page, out);
    }

    /// Puts a placed page below the open branch of `level`.
    fn adopt(&mut self, level: usize, first: P, id: u64, next_page: &mut u64, out: &mut impl Output<P>) {
        if self.branches.len() == level {
            self.branches.push(Branch { children: Vec::new(), bytes: PAGE_HEADER_BYTES });
        }
        let bytes = ELEMENT_BYTES + first.bytes();
        let branch = &self.branches[level];
        if branch.children.len() >= 2 && branch.bytes + bytes > PAGE_BYTES {
            self.place_branch(level, next_page, out);
        }
        let branch = &mut self.branches[level];
        branch.children.push((first, id));
        branch.bytes += bytes;
    }
}

/// Takes the pages for this many bytes; returns the first.
fn take(next_page: &mut u64, bytes: usize) -> u64 {
    let id = *next_page;
    *next_page += 1 + u64::from(overflow(bytes));
    id
}

fn overflow(bytes: usize) -> u32 {
    (bytes.div_ceil(PAGE_BYTES).max(1) - 1) as u32
}
