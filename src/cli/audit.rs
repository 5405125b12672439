//! What an auditor does with the audit log, on the command line of both programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use stream_audit::{Head, files_of, key, remembered_head, verify};
use stream_bridge::Bridge;
use stream_supervisor::Supervisor;
use tokio::time::{Instant, sleep};

use crate::audit::AuditSources;
use crate::output::say;

/// How long NATS may take to tell what it remembers.
const NATS_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two questions while it is being connected.
const NATS_POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Find what was removed from the audit log, changed in it or moved: names file and line.
    ///
    /// Looks at the file that the configuration names and at those that it was renamed to, or at
    /// those given here, in whatever order; packed ones have to be unpacked before. Where NATS
    /// answers, the end of the log is compared with what NATS remembers, which is up to a minute
    /// old. A last line that is torn is told, and no fault: the service ends it when it starts.
    Verify {
        /// The files, all of one log.
        files: Vec<PathBuf>,
        /// The configuration of the service; by default the one that `run` takes.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Do not ask NATS.
        #[arg(long)]
        offline: bool,
    },
}

impl Audit {
    /// Runs the command; `sources` reads the configuration.
    ///
    /// # Errors
    ///
    /// Something was changed, or there is nothing to look at.
    pub fn run(
        self,
        default_config: &Path,
        sources: impl FnOnce(&Path) -> anyhow::Result<AuditSources>,
    ) -> anyhow::Result<()> {
        let Self::Verify { files, config, offline } = self;
        let sources = sources(config.as_deref().unwrap_or(default_config))?;
        let is_whole_log = files.is_empty();
        let files = match (is_whole_log, &sources.config.file) {
            (false, _) => files,
            (true, Some(file)) => files_of(file),
            (true, None) => anyhow::bail!("audit.file is not set: name the files"),
        };
        anyhow::ensure!(!files.is_empty(), "there is no file to look at: nothing was written yet");
        // Before the files are read: lines that are added meanwhile are no fault.
        let remembered = match offline {
            true => Err("not asked".to_owned()),
            false => ask_nats(&sources),
        };
        let read = files.iter().map(|path| {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            anyhow::Ok((path.display().to_string(), bytes))
        });
        let read = read.collect::<anyhow::Result<Vec<_>>>()?;
        let key = key(&sources.sealing_key)?;
        let report = verify(&key, &read, remembered.as_ref().ok().copied().flatten());

        for finding in &report.findings {
            say!("{finding}");
        }
        let others: Vec<_> = report.units.iter().filter(|unit| **unit != sources.unit).collect();
        for other in &others {
            say!("it is the log of {other:?}, not of {:?}", sources.unit);
        }
        let last = report.last.map_or(0, |head| head.seq);
        say!("{} lines in {} files, the last one has number {last}", report.lines, read.len());
        match &remembered {
            Ok(Some(Head { seq, .. })) => say!("nats remembers number {seq}"),
            Ok(None) => say!("nats remembers nothing of this log"),
            Err(why) => say!("not compared with nats: {why}"),
        }
        anyhow::ensure!(
            report.is_intact() && others.is_empty(),
            "the audit log is not what was written"
        );
        say!("the audit log is intact");
        Ok(())
    }
}

/// Returns what NATS remembers of the log.
fn ask_nats(sources: &AuditSources) -> Result<Option<Head>, String> {
    let AuditSources { unit, nats, user, bucket, .. } = sources;
    actix::System::new().block_on(async {
        let supervisor = Supervisor::default();
        let name = format!("audit verify of {unit}");
        let bridge = Bridge::start_as(*user, nats.clone(), &name, &supervisor);
        let bridge = bridge.map_err(|error| error.to_string())?;
        let until = Instant::now() + NATS_TIMEOUT;
        loop {
            match remembered_head(&bridge, *bucket, unit).await {
                Ok(head) => return Ok(head),
                Err(error) if Instant::now() >= until => return Err(error.to_string()),
                Err(_) => sleep(NATS_POLL).await,
            }
        }
    })
}
