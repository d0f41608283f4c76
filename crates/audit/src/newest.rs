//! Reading a trail from its newest event backwards, a block at a time: however long the trail is, memory holds one line and one block.

use crate::trail::files;
use serde_json::Value;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// How much older than its neighbours an event of a trail can be: its time is taken before it waits for its place. Milliseconds.
pub const ORDER_SLACK_MS: u64 = 15 * 60 * 1000;
/// Bytes read at a time.
const BLOCK: u64 = 64 * 1024;

/// Events of a trail, newest first, with their numbers. A line that is no event is passed over.
#[derive(Debug)]
pub struct Newest {
    /// Files not begun yet, the oldest first.
    left: Vec<(u64, PathBuf)>,
    below: Option<u64>,
    open: Option<Backwards>,
}

impl Newest {
    /// Those below a number, or all of them.
    pub fn of(directory: &Path, below: Option<u64>) -> io::Result<Self> {
        let mut left = files(directory)?;
        if let Some(below) = below {
            left.retain(|(first, _)| *first < below);
        }
        Ok(Self { left, below, open: None })
    }

    fn step(&mut self) -> io::Result<Option<(u64, Value)>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some((_, path)) = self.left.pop() else { return Ok(None) };
                self.open = match Backwards::open(&path) {
                    Ok(open) => Some(open),
                    // The oldest file may go while it is waited for.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                };
                continue;
            };
            let Some(line) = open.line()? else {
                self.open = None;
                continue;
            };
            // Numbers are counted down from the last line of a file, so that lines above the place need not be read.
            let number = open.number.map(|number| number - 1);
            if let (Some(number), Some(below)) = (number, self.below)
                && number >= below
            {
                open.number = Some(number);
                continue;
            }
            let Ok(mut value) = serde_json::from_slice::<Value>(&line) else { continue };
            let Some(number) = value["sequence"].as_u64() else { continue };
            open.number = Some(number).filter(|number| *number > 0);
            if self.below.is_none_or(|below| number < below) {
                return Ok(Some((number, value["event"].take())));
            }
        }
    }
}

impl Iterator for Newest {
    type Item = io::Result<(u64, Value)>;
    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The lines of a file, the last one first.
#[derive(Debug)]
struct Backwards {
    file: File,
    /// Bytes that were not read yet.
    left: u64,
    /// What was read and not given out: ends behind the line that comes next.
    read: Vec<u8>,
    /// The number of the line that was given out last.
    number: Option<u64>,
}

impl Backwards {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        Ok(Self { file, left, read: Vec::new(), number: None })
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            while self.read.last() == Some(&b'\n') {
                self.read.pop();
            }
            match self.read.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => return Ok(Some(self.read.split_off(at + 1))),
                None if self.left == 0 => {
                    let line = std::mem::take(&mut self.read);
                    return Ok((!line.is_empty()).then_some(line));
                }
                None => {
                    let size = self.left.min(BLOCK);
                    let mut block = vec![0; size as usize];
                    self.file.read_exact_at(&mut block, self.left - size)?;
                    self.left -= size;
                    block.append(&mut self.read);
                    self.read = block;
                }
            }
        }
    }
}
