//! One file of the state: a header, then frames, each whole or not there.
//!
//! ```text
//! header   "oncewst\n"  version: u32  incomplete: u32      numbers lowest byte first
//! frame    length: u32  crc32 of length and records: u32  records: length bytes
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"oncewst\n";
/// Of the header, the frames and the records together.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// Where the header says that something was not written.
const INCOMPLETE_AT: u64 = 12;
/// Bytes of a frame before its records.
pub const FRAME_HEAD_BYTES: usize = 8;
/// Longer ones are not written: they are damaged.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// A file that is being written.
#[derive(Debug)]
pub struct Segment {
    pub path: PathBuf,
    pub bytes: u64,
    file: File,
}

impl Segment {
    /// Makes a file that is not there yet, for this user alone.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        if let Err(error) = file.write_all(&header) {
            // It would be found without its header, and is worth nothing.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self {
            path,
            bytes: HEADER_BYTES as u64,
            file,
        })
    }

    /// Appends a frame: [`FRAME_HEAD_BYTES`] that are filled in here, then the records. Of a frame
    /// that cannot be written whole nothing stays.
    pub fn append(&mut self, frame: &mut [u8]) -> io::Result<()> {
        let (head, records) = frame.split_at_mut(FRAME_HEAD_BYTES);
        let length = u32::try_from(records.len()).map_err(io::Error::other)?;
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&checksum(length, records).to_le_bytes());
        if let Err(error) = self.file.write_all(frame) {
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// Notes in the header whether there is something that the file, with those before it, should hold
    /// and does not.
    pub fn mark(&self, incomplete: bool) -> io::Result<()> {
        write_mark(&self.file, incomplete)
    }

    /// The file, to be synchronised elsewhere.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

/// As [`Segment::mark`] that it does not hold everything, for a file that is not written any more. Its
/// header has its place on the disk, so this works where the disk is full.
///
/// # Errors
/// What the system says; and when it is no file, but a symbolic link, say: somebody else put it
/// there, and what it names is not ours to write. Then the next start will not know.
pub fn mark_incomplete(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).custom_flags(no_link()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    write_mark(&file, true)
}

fn write_mark(file: &File, incomplete: bool) -> io::Result<()> {
    file.write_all_at(&u32::from(incomplete).to_le_bytes(), INCOMPLETE_AT)
}

/// Follow no symbolic link, and wait for no one.
fn no_link() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    flags.bits().cast_signed()
}

pub(super) fn checksum(length: u32, records: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(records);
    hasher.finalize()
}

/// What the beginning of a file says.
#[derive(Debug)]
pub enum Opened {
    /// It is one of ours.
    Frames(Frames),
    /// It ended before anything was written to it.
    Empty,
    /// Another program wrote it, or a later version of this one, or it is damaged.
    Foreign(String),
}

/// Reads the frames of a file one by one.
#[derive(Debug)]
pub struct Frames {
    input: BufReader<File>,
    left: u64,
    frame: Vec<u8>,
    /// Whether it says itself that something is missing.
    pub incomplete: bool,
}

/// Why no further frame can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All were read.
    Whole,
    /// The last one is not whole: so many bytes. The process ended while it wrote them.
    Torn(u64),
    /// A frame is damaged, and with it the rest of so many bytes.
    Damaged(u64),
}

impl Frames {
    /// Opens a file, and no symbolic link.
    pub fn open(path: &Path) -> io::Result<Opened> {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(no_link()).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Ok(Opened::Foreign("it is not a file".to_owned()));
        }
        let mut input = BufReader::new(file);
        let mut header = [0; HEADER_BYTES];
        let length = usize::try_from(found.len())
            .unwrap_or(usize::MAX)
            .min(HEADER_BYTES);
        input.read_exact(&mut header[..length])?;
        if length < HEADER_BYTES {
            let begun = MAGIC.starts_with(&header[..length.min(MAGIC.len())]);
            return Ok(match begun {
                true => Opened::Empty,
                false => Opened::Foreign("it does not begin as a state file".to_owned()),
            });
        }
        if header[..8] != MAGIC {
            return Ok(Opened::Foreign(
                "it does not begin as a state file".to_owned(),
            ));
        }
        let [.., v0, v1, v2, v3, i0, i1, i2, i3] = header;
        let version = u32::from_le_bytes([v0, v1, v2, v3]);
        if version != VERSION {
            return Ok(Opened::Foreign(format!(
                "its format is version {version}, this program writes {VERSION}"
            )));
        }
        Ok(Opened::Frames(Self {
            input,
            left: found.len() - HEADER_BYTES as u64,
            frame: Vec::new(),
            incomplete: [i0, i1, i2, i3] != [0; 4],
        }))
    }

    /// The records of the next frame.
    pub fn read_next(&mut self) -> Result<&[u8], End> {
        if self.left == 0 {
            return Err(End::Whole);
        }
        if self.left < FRAME_HEAD_BYTES as u64 {
            return Err(End::Torn(self.left));
        }
        let mut head = [0; FRAME_HEAD_BYTES];
        self.read(&mut head)?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let rest = self.left - FRAME_HEAD_BYTES as u64;
        if length == 0 || length as usize > FRAME_BYTES_MAX {
            return Err(End::Damaged(self.left));
        }
        if u64::from(length) > rest {
            return Err(End::Torn(self.left));
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.resize(length as usize, 0);
        let read = self.read(&mut frame);
        self.frame = frame;
        read?;
        if checksum(length, &self.frame) != u32::from_le_bytes([c0, c1, c2, c3]) {
            // A file's length can reach the disk before its end does.
            let end = if rest == u64::from(length) {
                End::Torn
            } else {
                End::Damaged
            };
            return Err(end(self.left));
        }
        self.left = rest - u64::from(length);
        Ok(&self.frame)
    }

    /// What cannot be read is as good as not there.
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), End> {
        let read = self.input.read_exact(bytes);
        read.map_err(|_| End::Damaged(self.left))
    }

    /// Bytes that are not read yet.
    pub fn left(&self) -> u64 {
        self.left
    }
}
