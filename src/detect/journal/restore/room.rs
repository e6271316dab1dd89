//! What cannot be used, and what a smaller capacity or smaller limits leave no room for.

use super::Begun;
use crate::detect::Detector;
use crate::detect::finding::Verdicts;
use crate::detect::key::Key;

/// What was written down and cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Tokens whose profile is no longer configured.
    pub without_profile: u64,
    /// Tokens for which the capacity is too small now.
    pub without_room: u64,
    /// Tokens whose names are missing.
    pub without_name: u64,
    /// Tokens that are known, but not found by their request: too many others have that one.
    pub without_place: u64,
}

impl Begun {
    /// Forgets what is beyond the limits of what tokens may take besides their places, `times` as much.
    ///
    /// The images of a batch are taken over one after another, and those that take more may come before
    /// those that take less: in between there is at most what there was before and what is there after it.
    /// So within a batch tokens are forgotten beyond twice the limits only, or one would be that nobody
    /// had to forget when the batch was written.
    pub(super) fn enforce_limits(&mut self, times: usize) {
        while let Some(burden) = self.detector.scarce(times)
            && let Some((id, slot)) = self.detector.oldest_with(burden)
        {
            let Detector { tables, packer, .. } = &mut self.detector;
            if let Some(table) = &mut tables[id.0] {
                self.without_room.insert(table.identity(slot).0);
                table.forget_at(slot, &mut self.base_tails[id.0], packer);
            }
        }
    }

    /// The same for leases and places among the undecided, when all are known.
    pub(super) fn enforce_last_limits(&mut self) {
        let mut out = Verdicts::default();
        while let Some((id, removed)) = self.detector.shed(Key::default()) {
            self.detector.remove(id, removed, &mut out);
            out.clear();
            self.lost.without_room += 1;
        }
    }
}
