//! A VFS through which SQLite reaches a simulated disk, so that its writes can be lost, torn and made to fail.
//!
//! Only what a connection in exclusive locking mode needs: no shared memory, no locks (the store's own lock is on the
//! simulated disk), no temporary files. The tests of the crate itself include it as well.
#![allow(unsafe_code, reason = "SQLite calls a VFS by C function pointers")]

use coffer_backends::io::{File, Io, OpenMode, SimDisk, read_full, write_full};
use rusqlite::ffi;
use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A registered VFS over one disk; unregistered when dropped.
pub(crate) struct SimVfs {
    name: String,
    registered: *mut ffi::sqlite3_vfs,
    disk: &'static Mutex<Option<SimDisk>>,
}

impl SimVfs {
    pub(crate) fn new(disk: SimDisk) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("sim-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        // Some bytes for each disk are never given back, because SQLite says nowhere that it is done with a VFS.
        let disk: &'static Mutex<Option<SimDisk>> = Box::leak(Box::new(Mutex::new(Some(disk))));
        let c_name = CString::new(name.clone()).expect("no zero byte");
        let vfs = ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<Handle>() as c_int,
            mxPathname: 512,
            pNext: ptr::null_mut(),
            zName: c_name.into_raw(),
            pAppData: ptr::from_ref(disk).cast_mut().cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        let registered = Box::into_raw(Box::new(vfs));
        // SAFETY: the structure and its name live for ever.
        let code = unsafe { ffi::sqlite3_vfs_register(registered, 0) };
        assert_eq!(code, ffi::SQLITE_OK, "the VFS is registered");
        Self { name, registered, disk }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for SimVfs {
    fn drop(&mut self) {
        // SAFETY: it was registered by `new`, once; the structure stays.
        unsafe { ffi::sqlite3_vfs_unregister(self.registered) };
        *self.disk.lock().expect("no panic under the lock") = None;
    }
}

thread_local! {
    /// As `errno`: of the last call that failed.
    static LAST_ERROR: Cell<c_int> = const { Cell::new(0) };
}

/// What SQLite's own VFS answers for a call that failed with `error`, `code` if that is nothing special.
fn answer(error: &io::Error, code: c_int) -> c_int {
    LAST_ERROR.set(error.raw_os_error().unwrap_or(0));
    if error.kind() == ErrorKind::StorageFull { ffi::SQLITE_FULL } else { code }
}

/// What SQLite holds for an open file: its own part, then ours.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

struct Open {
    file: Arc<dyn File>,
    disk: SimDisk,
    directory: PathBuf,
    /// A file that was just created: its first sync makes its name durable as well, as SQLite's own VFS does.
    is_new: AtomicBool,
}

/// # Safety
/// `vfs` is one that [`SimVfs::new`] registered.
unsafe fn disk_of(vfs: *mut ffi::sqlite3_vfs) -> Option<SimDisk> {
    // SAFETY: `pAppData` is the leaked lock.
    let disk = unsafe { &*(*vfs).pAppData.cast::<Mutex<Option<SimDisk>>>() };
    disk.lock().expect("no panic under the lock").clone()
}

/// # Safety
/// `name` is a string that SQLite passes.
unsafe fn path_of<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: SQLite ends its names with a zero byte.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

/// # Safety
/// `file` is one that [`open`] filled and [`close`] has not seen.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a Open {
    // SAFETY: the handle begins with SQLite's part, and `open` points to what `open` boxed.
    unsafe { &*(*file.cast::<Handle>()).open }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for a `Handle`; without methods it does not close what failed to open.
    unsafe { (*file).pMethods = ptr::null() };
    // SAFETY: SQLite calls a VFS with itself.
    let Some(disk) = (unsafe { disk_of(vfs) }) else { return ffi::SQLITE_CANTOPEN };
    if name.is_null() {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: as above.
    let path = unsafe { path_of(name) };
    let (result, is_new) = match disk.open(path, OpenMode::Write) {
        Err(error) if error.kind() == ErrorKind::NotFound && flags & ffi::SQLITE_OPEN_CREATE != 0 => {
            (disk.open(path, OpenMode::Create), true)
        }
        result => (result, false),
    };
    let opened = match result {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::QuotaExceeded) => {
            return answer(&error, ffi::SQLITE_CANTOPEN);
        }
        Err(error) => return answer(&error, ffi::SQLITE_IOERR),
    };
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    let open = Box::new(Open { file: opened, disk, directory, is_new: AtomicBool::new(is_new) });
    // SAFETY: SQLite gives room for a `Handle`, and for the flags unless it wants none.
    unsafe {
        (*file.cast::<Handle>()).open = Box::into_raw(open);
        (*file).pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite calls a VFS with itself and a name.
    let (disk, path) = unsafe { (disk_of(vfs), path_of(name)) };
    let Some(disk) = disk else { return ffi::SQLITE_IOERR_DELETE };
    match disk.remove(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(_) => return ffi::SQLITE_IOERR_DELETE,
    }
    match sync != 0 && disk.sync_dir(path.parent().unwrap_or(Path::new("/"))).is_err() {
        true => ffi::SQLITE_IOERR_DIR_FSYNC,
        false => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls a VFS with itself, a name, and room for the result.
    unsafe {
        let exists = disk_of(vfs).is_some_and(|disk| disk.open(path_of(name), OpenMode::Read).is_ok());
        *result = exists.into();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a name and `room` bytes; all paths here are absolute.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > room as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, bytes: c_int, out: *mut c_char) -> c_int {
    // Always the same: SQLite draws the salts of a WAL from it, and counts them up as well.
    // SAFETY: SQLite passes so much room.
    unsafe { ptr::write_bytes(out, 0x5a, bytes as usize) };
    bytes
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite passes room for the time.
    unsafe { *out = 2_461_366.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    LAST_ERROR.get()
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes once what `open` filled.
    drop(unsafe { Box::from_raw((*file.cast::<Handle>()).open) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes an open file and so much room.
    let (open, out) =
        unsafe { (opened(file), std::slice::from_raw_parts_mut(out.cast::<u8>(), bytes as usize)) };
    match read_full(&*open.file, out, offset as u64) {
        Ok(found) if found == out.len() => ffi::SQLITE_OK,
        Ok(found) => {
            out[found..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    content: *const c_void,
    bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes an open file and so many bytes.
    let (open, content) =
        unsafe { (opened(file), std::slice::from_raw_parts(content.cast::<u8>(), bytes as usize)) };
    match write_full(&*open.file, content, offset as u64) {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => answer(&error, ffi::SQLITE_IOERR_WRITE),
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, bytes: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite passes an open file.
    match unsafe { opened(file) }.file.set_len(bytes as u64) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_IOERR_TRUNCATE,
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    let open = unsafe { opened(file) };
    if open.file.sync_data().is_err() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    match open.is_new.swap(false, Ordering::Relaxed) && open.disk.sync_dir(&open.directory).is_err() {
        true => ffi::SQLITE_IOERR_DIR_FSYNC,
        false => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite passes an open file and room for its size.
    match unsafe { opened(file) }.file.len() {
        Ok(bytes) => {
            // SAFETY: as above.
            unsafe { *out = bytes as i64 };
            ffi::SQLITE_OK
        }
        Err(_) => ffi::SQLITE_IOERR_FSTAT,
    }
}

unsafe extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes room for the answer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}
