//! What the files of an earlier process still tell.

use std::io;
use std::path::{Path, PathBuf};

use super::directory::{Directory, Found};
use super::segment::{End, Frames, Opened};
use crate::detect::Detector;
use crate::detect::journal::{Restore, Restored};

/// What was found, besides the detector.
#[derive(Default)]
pub struct Loaded {
    /// The detector and what belongs to it, if any file could be used.
    pub restored: Option<(Detector, Restored)>,
    /// The files that were read: they stay until everything is written anew.
    pub files: Vec<Read>,
    /// What could not be kept, one sentence each.
    pub gaps: Vec<String>,
    /// The highest number of a file.
    pub number: u64,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Read {
    pub path: PathBuf,
    pub bytes: u64,
    /// Whether it is to be set aside and not removed when it is not needed any more.
    pub damaged: bool,
}

/// Reads the newest file that holds everything and can be used, and those with the changes after it;
/// `begin` gives what they are read into.
///
/// # Errors
/// When the directory cannot be listed.
pub fn load(directory: &Directory, begin: impl Fn() -> Restore) -> io::Result<Loaded> {
    let files = directory.files()?;
    let mut loaded = Loaded::default();
    let mut restore = begin();
    let logs = files
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, file)| file.is_log);
    let mut bad = Vec::new();
    let mut first = 0;
    for (at, file) in logs {
        if read(directory, file, &mut restore, &mut loaded) {
            first = at;
            break;
        }
        // Something of it may have been taken over before it proved unusable.
        restore = begin();
        bad.push(at);
    }
    let is_based = !loaded.files.is_empty();
    for (at, file) in files.iter().enumerate() {
        if bad.contains(&at) || is_based && at == first {
            continue;
        }
        if at < first {
            // Left behind by a process that ended before it could remove it.
            let _ = std::fs::remove_file(&file.path);
        } else {
            read(directory, file, &mut restore, &mut loaded);
        }
    }
    // One that was set aside has no number any more; nobody can use up the numbers with it.
    let numbers = files.iter().filter(|file| loaded.keeps(&file.path));
    loaded.number = numbers.map(|file| file.number).max().unwrap_or(0);
    loaded.restored = restore.finish().map(|(detector, restored)| {
        let lost = restored.lost;
        let mut gap = |count: u64, why: &str| {
            if count > 0 {
                loaded.gaps.push(format!("{count} tokens are {why}"));
            }
        };
        gap(
            lost.without_profile,
            "forgotten: their profile is no longer configured",
        );
        gap(
            lost.without_room,
            "forgotten: the capacity is smaller than it was",
        );
        gap(
            lost.without_name,
            "forgotten: their names are missing in the state",
        );
        gap(
            lost.without_place,
            "not found by their request: there is no room for so many with one request",
        );
        (detector, restored)
    });
    Ok(loaded)
}

/// Takes over what a file says, or sets it aside; returns whether it is used.
fn read(directory: &Directory, file: &Found, restore: &mut Restore, loaded: &mut Loaded) -> bool {
    let name = file.path.display();
    let why = match Frames::open(&file.path) {
        Ok(Opened::Frames(mut frames)) => match read_frames(&mut frames, restore, file.is_log) {
            Ok(End::Whole) if frames.incomplete => {
                loaded
                    .gaps
                    .push(format!("{name}: something could not be written"));
                return loaded.keep(file, false);
            }
            Ok(End::Whole) => return loaded.keep(file, false),
            Ok(End::Torn(bytes)) => {
                loaded.gaps.push(format!(
                    "{name}: its last {bytes} bytes are cut off: not whole"
                ));
                return loaded.keep(file, false);
            }
            Ok(End::Damaged(bytes)) => {
                loaded
                    .gaps
                    .push(format!("{name}: its last {bytes} bytes are damaged"));
                return loaded.keep(file, true);
            }
            Err(why) => why,
        },
        Ok(Opened::Empty) if !file.is_log => return loaded.keep(file, false),
        Ok(Opened::Empty) => "it is empty".to_owned(),
        Ok(Opened::Foreign(why)) => why,
        Err(error) => error.to_string(),
    };
    loaded.gaps.push(format!("{name} is set aside: {why}"));
    directory.set_aside(&file.path);
    false
}

/// Takes over all frames that can be read.
///
/// # Errors
/// When there is none and there must be one, or it continues another state.
fn read_frames(frames: &mut Frames, restore: &mut Restore, is_log: bool) -> Result<End, String> {
    match frames.read_next() {
        Ok(records) if !restore.continues(records) => {
            return Err("it belongs to another state".to_owned());
        }
        Ok(records) => restore.apply(records).map_err(|error| error.to_string())?,
        Err(End::Damaged(_)) => return Err("its beginning is damaged".to_owned()),
        Err(_) if is_log => return Err("nothing of it is whole".to_owned()),
        Err(end) => return Ok(end),
    }
    loop {
        let left = frames.left();
        match frames.read_next().map(|records| restore.apply(records)) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(End::Damaged(left)),
            Err(end) => return Ok(end),
        }
    }
}

impl Loaded {
    fn keep(&mut self, file: &Found, damaged: bool) -> bool {
        self.files.push(Read {
            path: file.path.clone(),
            bytes: file.bytes,
            damaged,
        });
        true
    }

    fn keeps(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file.path == path)
    }
}
