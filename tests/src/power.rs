//! A file system of the kernel that loses what was not synced: ext4 or xfs on a loop device, and the ioctl by which it
//! goes down as if the power failed.
//!
//! It loses names, lengths and data that were not synced. It does not tear sectors; the simulated disk does.

use crate::node_cuts::Power;
use crate::subjects::{Stored, Subject};
use coffer_core::Error;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::ioctl::{Setter, ioctl, opcode};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const IMAGE_BYTES: u64 = 512 << 20;
/// The power fails after at most this while a store is written.
const LIFE_MS_MAX: u64 = 400;
/// A store that was closed lets go of its file system by then.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(30);

/// A file system that can be shut down.
pub struct LoopDisk {
    directory: TempDir,
    mounted: bool,
}

impl LoopDisk {
    /// Makes and mounts an empty file system.
    ///
    /// # Errors
    /// Why this machine cannot: no root, no loop device, no such file system.
    pub fn new(file_system: &str) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root to mount a file system".into());
        }
        let directory = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
        let mut disk = Self { directory, mounted: false };
        let image = File::create(disk.image()).and_then(|file| file.set_len(IMAGE_BYTES));
        image.map_err(|error| format!("no image of a disk: {error}"))?;
        std::fs::create_dir(disk.mount_point()).map_err(|error| format!("no mount point: {error}"))?;
        run(Command::new(format!("mkfs.{file_system}")).arg("-q").arg(disk.image()))?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// Where the file system is mounted.
    pub fn mount_point(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.mount_point()))?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + UNMOUNT_DEADLINE;
        loop {
            match run(Command::new("umount").arg(self.mount_point())) {
                Ok(()) => break,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
        self.mounted = false;
        Ok(())
    }

    /// Starts again after the power was cut.
    ///
    /// # Errors
    /// What the system's programs said.
    pub fn restart(&mut self) -> Result<(), String> {
        self.unmount()?;
        self.mount()
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted {
            // Nothing is left to do about a file system that stays; it is named in the list of mounts.
            let _ = self.unmount();
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("needs {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Shuts down the file system that is mounted at `mount_point`: from now on everything on it fails, and what was not
/// synced is gone. With `journal` the journal is written out first, but no data.
///
/// # Errors
/// What the kernel answers.
fn shut_down(mount_point: &Path, journal: bool) -> io::Result<()> {
    /// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` are the same number, and so are their flags.
    const GOING_DOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
    let flags: u32 = if journal { 1 } else { 2 };
    let root = File::open(mount_point)?;
    // SAFETY: both file systems read one u32 through the pointer that `Setter` passes, and write nothing; another
    // file system refuses the number.
    unsafe { ioctl(&root, Setter::<GOING_DOWN, u32>::new(flags)) }?;
    Ok(())
}

/// A store on a [`LoopDisk`].
pub struct KernelPower {
    disk: LoopDisk,
    subject: Subject,
    armed: Option<JoinHandle<io::Result<()>>>,
}

impl KernelPower {
    /// An empty file system for such a store.
    ///
    /// # Errors
    /// Why this machine cannot.
    pub fn new(subject: Subject, file_system: &str) -> Result<Self, String> {
        Ok(Self { disk: LoopDisk::new(file_system)?, subject, armed: None })
    }
}

impl Power for KernelPower {
    fn open(&mut self) -> Result<Stored, Error> {
        Ok((self.subject.open)(&self.disk.mount_point().join("store"))?)
    }

    fn arm(&mut self, opening: bool, random: &mut StdRng) -> Arc<AtomicBool> {
        let mount_point = self.disk.mount_point();
        let after = Duration::from_millis(random.random_range(0..if opening { 30 } else { LIFE_MS_MAX }));
        let journal = random.random_bool(0.3);
        let fails = Arc::new(AtomicBool::new(false));
        let told = fails.clone();
        self.armed = Some(thread::spawn(move || {
            thread::sleep(after);
            told.store(true, Ordering::SeqCst);
            shut_down(&mount_point, journal)
        }));
        fails
    }

    fn cut(&mut self, _: &mut StdRng) -> Result<(), String> {
        if let Some(armed) = self.armed.take() {
            let cut = armed.join().map_err(|_| "the thread that cuts the power died".to_owned())?;
            cut.map_err(|error| format!("the file system cannot be shut down: {error}"))?;
        }
        self.disk.restart()
    }

    fn operations(&self) -> u64 {
        0
    }

    fn cuts_openings(&self) -> bool {
        true
    }
}
