//! `export`: every key and value as JSON lines, all of one revision.

use super::{lines, progress};
use crate::args::store::ExportOptions;
use crate::failure::Failure;
use bytes::Bytes;
use coffer::{Client, KeyRange};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

pub(crate) async fn run(client: &Client, options: ExportOptions) -> Result<(), Failure> {
    let prefix = Bytes::from(options.prefix.into_vec());
    let range = match prefix.is_empty() {
        true => KeyRange::all(),
        false => KeyRange::prefix(prefix),
    };
    if options.file == Path::new("-") {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
        write_lines(client, range, options.rev, &mut out).await?;
        return Ok(out.flush()?);
    }
    let mut file = Unfinished::create(&options.file)?;
    let written = write_lines(client, range, options.rev, &mut file.out).await;
    match written {
        Ok(()) => file.finish(&options.file),
        Err(failure) => {
            file.discard();
            Err(failure.context(options.file.display()))
        }
    }
}

async fn write_lines(
    client: &Client,
    range: KeyRange,
    revision: i64,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let count = client.range(range.clone()).revision(revision).count_only().await?;
    // The count and the keys are of one revision.
    let revision = if revision > 0 { revision } else { count.header.revision };
    let bar = progress::bar(Some(count.count.unsigned_abs()), false);
    let mut pages = client.range(range).revision(revision).pages();
    while let Some(kvs) = pages.next().await? {
        for kv in &kvs {
            lines::write(out, &kv.key, &kv.value)?;
        }
        bar.inc(kvs.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A file that appears under its name only when it is whole.
struct Unfinished {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Unfinished {
    fn create(target: &Path) -> Result<Self, Failure> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".unfinished-{}", std::process::id()));
        let path = target.with_file_name(name);
        let file =
            File::create_new(&path).map_err(|error| Failure::file("create", path.display(), &error))?;
        Ok(Self { path, out: BufWriter::with_capacity(1 << 16, file) })
    }

    fn finish(self, target: &Path) -> Result<(), Failure> {
        let finished = self
            .out
            .into_inner()
            .map_err(|error| error.into_error())
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.path, target));
        finished.map_err(|error| {
            // What is left is useless; the first error is the one to tell.
            let _ = fs::remove_file(&self.path);
            Failure::file("write", target.display(), &error)
        })
    }

    fn discard(self) {
        // The failure that led here is the one to tell.
        let _ = fs::remove_file(&self.path);
    }
}
