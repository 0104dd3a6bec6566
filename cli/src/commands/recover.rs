//! `recover --force-new-cluster`: a new cluster of one member from what is left of one without a quorum.

use crate::args::Global;
use crate::args::store::RecoverOptions;
use crate::failure::Failure;
use crate::new_cluster::NOTHING;
use crate::output::{Format, Output};
use coffer::{LogId, Recovered, Survivor};
use serde::Serialize;
use std::path::PathBuf;

pub(crate) fn run(global: &Global, options: RecoverOptions) -> Result<(), Failure> {
    let mut output = Output::new(global.write_out, global.hex);
    output.no_table("recover")?;
    let RecoverOptions { force_new_cluster, from, data_dir, backend, new_cluster } = options;
    if !force_new_cluster {
        return Err(Failure::usage(
            "a new cluster is made that the old one knows nothing of: say --force-new-cluster if no majority of the old \
             one can come back",
        ));
    }
    let cluster = new_cluster.resolve()?.cluster(NOTHING)?;
    if cluster.as_ref().is_some_and(|cluster| cluster.members().len() > 1) {
        return Err(Failure::usage("the new cluster begins with one member: add others later"));
    }
    let source = global.seal.options(from.first().map(PathBuf::as_path))?;
    let recovered = source.recover(&from, &data_dir, cluster.as_ref(), backend);
    let recovered = recovered.map_err(|error| Failure::from(error).note("there is no new store"))?;
    let report = Report::of(&recovered, data_dir);
    recovered.store.keep()?;
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Simple | Format::Table => report.write(&mut output)?,
    }
    Ok(output.flush()?)
}

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    data_dir: PathBuf,
    cluster_id: u64,
    member_id: u64,
    revision: i64,
    keys: u64,
    leases: u64,
    hash: u32,
    from: PathBuf,
    last: Entry,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed: Option<Entry>,
    /// The voters whose stores were not given.
    missing: Vec<String>,
    may_have_lost: bool,
    passed_over: Vec<PassedOver>,
}

#[derive(Debug, Serialize)]
struct PassedOver {
    dir: PathBuf,
    last: Entry,
}

#[derive(Debug, Serialize)]
struct Entry {
    term: u64,
    index: u64,
}

impl From<LogId> for Entry {
    fn from(id: LogId) -> Self {
        Self { term: id.term, index: id.index }
    }
}

impl Report {
    fn of(recovered: &Recovered, data_dir: PathBuf) -> Self {
        let Recovered { store, from, survivors, committed, missing, may_have_lost } = recovered;
        let audit = store.audit();
        let passed_over =
            |survivor: &Survivor| PassedOver { dir: survivor.dir.clone(), last: survivor.last.into() };
        Self {
            data_dir,
            cluster_id: store.cluster_id(),
            member_id: store.member_id(),
            revision: audit.revision,
            keys: audit.keys,
            leases: audit.leases,
            hash: audit.hash,
            from: from.dir.clone(),
            last: from.last.into(),
            committed: committed.map(Entry::from),
            missing: missing.iter().map(|member| format!("{:x} ({})", member.id, member.info.name)).collect(),
            may_have_lost: *may_have_lost,
            passed_over: survivors
                .iter()
                .filter(|survivor| survivor.dir != from.dir)
                .map(passed_over)
                .collect(),
        }
    }

    fn write(&self, output: &mut Output) -> std::io::Result<()> {
        let Entry { term, index } = self.last;
        output.line(format_args!(
            "made from {}, which goes to entry {index} of term {term}",
            self.from.display()
        ))?;
        for PassedOver { dir, last } in &self.passed_over {
            let dir = dir.display();
            output.line(format_args!(
                "passed over: {dir}, which goes to entry {} of term {}",
                last.index, last.term
            ))?;
        }
        match &self.committed {
            Some(committed) if committed.index >= index => {
                output.line("all of it is known to have been acknowledged")?;
            }
            committed => {
                let known = committed.as_ref().map_or(0, |committed| committed.index);
                output.line(format_args!(
                    "entries after {known} may or may not have been acknowledged: they were taken"
                ))?;
            }
        }
        match self.may_have_lost {
            true => output.line(format_args!(
                "LOST is what was acknowledged after entry {index} by a majority of which only these knew: {}",
                self.missing.join(", ")
            ))?,
            false => output.line("nothing that was acknowledged is lost")?,
        }
        output.line(format_args!(
            "revision {}, {} keys, {} leases, HashKV {}",
            self.revision, self.keys, self.leases, self.hash
        ))?;
        output.line(format_args!(
            "cluster {:x} with the one member {:x} in {}; none of the old cluster may run again beside it",
            self.cluster_id,
            self.member_id,
            self.data_dir.display()
        ))
    }
}
