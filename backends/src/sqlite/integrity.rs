//! What SQLite says of its own structures, as findings that name pages.

use super::database::{Database, PAGE_BYTES};
use crate::format::corrupt;
use coffer_core::storage::{Checking, Finding, Halt, StorageError};

/// Faults after which SQLite ends its check. Behind a damaged page of a tree there may be many that only follow from it.
const FAULTS_MAX: usize = 100;

/// Has SQLite check its own structures: one long read, which would keep the WAL of a store in use from being used again.
pub(super) fn verify_integrity(database: &Database, checking: &mut Checking<'_>) -> Result<(), Halt> {
    // It tells of a read that failed as of damage. Damage is still there at a second look.
    let faults = match checking.take(faults(database))? {
        Some(faults) if !faults.is_empty() => checking.take(self::faults(database))?,
        faults => faults,
    };
    for fault in faults.unwrap_or_default() {
        // Where a WAL holds the newest content of pages, a page has no place in the file.
        let page = page_of(&fault).filter(|_| database.is_settled()).unwrap_or(1);
        let offset = page.saturating_sub(1).saturating_mul(PAGE_BYTES);
        checking.found(Finding::Damage(corrupt(database.path(), offset, "a sound database", fault)));
    }
    checking.checked(0)
}

fn faults(database: &Database) -> Result<Vec<String>, StorageError> {
    let told = database.read(|connection| -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(&format!("PRAGMA integrity_check({FAULTS_MAX})"))?;
        let (mut rows, mut told) = (statement.query([])?, Vec::new());
        loop {
            match rows.next() {
                Ok(Some(row)) => told.push(row.get(0)?),
                Ok(None) => return Ok(told),
                // It ends with an error where it comes upon damage once more, after it was told.
                Err(_) if !told.is_empty() => return Ok(told),
                Err(error) => return Err(error),
            }
        }
    })?;
    // A row may hold several lines, the first of which names the database.
    let lines = told.iter().flat_map(|row| row.lines()).map(str::trim);
    Ok(lines
        .filter(|line| !line.is_empty() && *line != "ok" && !line.starts_with("***"))
        .map(String::from)
        .collect())
}

/// The page that a fault names, if it names one: "Tree 3 page 17 cell 2: ...", "Page 8: never used".
fn page_of(fault: &str) -> Option<u64> {
    let mut words = fault.split([' ', ':']);
    words.find(|word| word.eq_ignore_ascii_case("page"))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::page_of;

    #[test]
    fn the_page_of_a_fault_is_found() {
        assert_eq!(page_of("Tree 3 page 17 cell 2: Rowid 5 out of order"), Some(17));
        assert_eq!(page_of("Tree 4 page 9: btreeInitPage() returns error code 11"), Some(9));
        assert_eq!(page_of("Page 8: never used"), Some(8));
        assert_eq!(page_of("Freelist: size is 3 but should be 2"), None);
        assert_eq!(page_of("the page of nobody"), None);
    }
}
