//! The thread that writes a log. Disks may take their time, and nobody else has to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tokio::sync::oneshot;

use crate::chain::Head;
use crate::entry::Entry;
use crate::error::AuditError;
use crate::writer::Writer;

/// Lines that wait to be written. More are refused, or lost if nobody waits for them.
const CAPACITY: usize = 4096;

/// What the thread is asked.
pub(crate) enum Order {
    /// Write a line; it is answered when that is on the disk.
    Write(Box<Entry>, oneshot::Sender<Result<Head, String>>),
    /// Write a line for which nobody waits.
    Note(Box<Entry>),
    /// Have all lines on the disk, and say which the last one is.
    Head(oneshot::Sender<Head>),
    /// Go on in a new file if somebody has moved this one away.
    Reopen,
}

/// The way to the thread, which ends with the last of them.
#[derive(Clone)]
pub(crate) struct LogThread {
    orders: SyncSender<Order>,
    /// Lines that could not be written, and that no line has told yet.
    lost: Arc<AtomicU64>,
}

impl LogThread {
    pub(crate) fn start(writer: Writer) -> Result<Self, AuditError> {
        let (orders, queue) = sync_channel(CAPACITY);
        let lost = Arc::new(AtomicU64::new(0));
        let work = Work { writer, lost: Arc::clone(&lost), is_failing: false };
        let thread = thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || work.run(&queue)).map_err(AuditError::Thread)?;
        Ok(Self { orders, lost })
    }

    /// Returns one whose orders somebody else takes.
    #[cfg(test)]
    pub(crate) fn with_orders(&self, orders: SyncSender<Order>) -> Self {
        Self { orders, lost: Arc::clone(&self.lost) }
    }

    /// Hands `order` over; whether it was taken.
    pub(crate) fn send(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// Counts a line that could not be written.
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
    }
}

struct Work {
    writer: Writer,
    lost: Arc<AtomicU64>,
    /// Said once, not for every line.
    is_failing: bool,
}

impl Work {
    fn run(mut self, queue: &Receiver<Order>) {
        while let Ok(order) = queue.recv() {
            match order {
                Order::Write(entry, answer) => {
                    let written = self.append(*entry).and_then(|head| {
                        self.writer.sync()?;
                        Ok(head)
                    });
                    self.note(written.as_ref().err());
                    // Whoever asked may have stopped waiting.
                    let _ = answer.send(written.map_err(|error| error.to_string()));
                }
                Order::Note(entry) => {
                    let written = self.append(*entry);
                    if written.is_err() {
                        self.lost.fetch_add(1, Relaxed);
                    }
                    self.note(written.as_ref().err());
                }
                Order::Head(answer) => {
                    let synced = self.writer.sync();
                    self.note(synced.as_ref().err());
                    let _ = answer.send(self.writer.head());
                }
                Order::Reopen => {
                    if let Err(error) = self.writer.reopen() {
                        log::error!(error:%; "the audit log goes on in the file that was moved");
                    }
                }
            }
        }
        let synced = self.writer.sync();
        self.note(synced.as_ref().err());
    }

    /// Adds a line, and before it one that tells of those that are lost.
    fn append(&mut self, entry: Entry) -> io::Result<Head> {
        let lost = self.lost.load(Relaxed);
        if lost > 0 {
            self.writer.append(Entry::lost(lost))?;
            self.lost.fetch_sub(lost, Relaxed);
        }
        self.writer.append(entry)
    }

    fn note(&mut self, error: Option<&io::Error>) {
        match error {
            Some(error) if !self.is_failing => {
                log::error!(error:%; "the audit log cannot be written: what operators order is refused");
            }
            None if self.is_failing => log::info!("the audit log can be written again"),
            _ => {}
        }
        self.is_failing = error.is_some();
    }
}
