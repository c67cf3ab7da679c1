//! Writes the history while the run goes on, on a thread of its own: one order, one clock.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tidings_check::history::{Line, Seen, jsonl};

/// Lines that may wait for the file: whoever sees more waits, too.
const WAITING_MAX: usize = 65_536;
const BUFFER_BYTES: usize = 256 << 10;

/// Takes what was seen. Cheap to clone; all clones write one history.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    began: Instant,
    /// A lock, so that no line has an earlier time than the one before it.
    lines: Arc<Mutex<Option<SyncSender<Line>>>>,
}

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Writing {
    thread: JoinHandle<io::Result<()>>,
    recorder: Recorder,
}

impl Recorder {
    /// Begins a history in a new file at this path.
    pub(super) fn begin(path: &Path) -> io::Result<(Self, Writing)> {
        let file = File::create(path)?;
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("verify-history".to_owned());
        let thread = thread.spawn(move || write(file, &receiver))?;
        let began = Instant::now();
        let recorder = Self { began, lines: Arc::new(Mutex::new(Some(sender))) };
        Ok((recorder.clone(), Writing { thread, recorder }))
    }

    /// Adds a line. After the end, or once the file cannot be written, nothing happens: then
    /// [`Writing::end`] says why.
    pub(super) fn record(&self, seen: Seen) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let at_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Some(lines) = lines.as_ref() {
            let _ = lines.send(Line { at_us, seen });
        }
    }
}

impl Writing {
    /// Writes all that was recorded; what comes later is not.
    pub(super) fn end(self) -> io::Result<()> {
        self.recorder.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
    }
}

fn write(file: File, lines: &Receiver<Line>) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
    for line in lines {
        jsonl::write(&line, &mut file)?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Lines from many threads must come out whole, all, and with times that never go back.
    #[test]
    fn lines_of_many_threads_are_in_one_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let (recorder, writing) = Recorder::begin(&path).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|node| {
                let recorder = recorder.clone();
                std::thread::spawn(move || {
                    (0..500).for_each(|_| recorder.record(Seen::Up { node }))
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        writing.end().unwrap();
        recorder.record(Seen::End);
        let history = jsonl::load(BufReader::new(File::open(&path).unwrap())).unwrap();
        assert_eq!((history.lines.len(), history.is_cut_short), (2_000, false));
        assert!(history.lines.is_sorted_by_key(|line| line.at_us));
    }
}
