//! Names that many tokens share (clients, scopes, APIs without a profile), each stored once.

use std::collections::HashMap;

/// Stands for a name in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameId(u32);

/// The shared names.
///
/// Nothing counts who uses a name. When the names have doubled since the last look, the owner
/// asks all tokens which they use and drops the rest, so a sender that invents names cannot make
/// this grow beyond what the bounded tables hold.
#[derive(Debug)]
pub struct Names {
    ids: HashMap<Box<str>, NameId>,
    names: Vec<Option<Box<str>>>,
    free: Vec<NameId>,
    sweep_at: usize,
}

/// Names kept before the first sweep: far more than the clients of any pod.
const SWEEP_AT_MIN: usize = 4096;

impl Names {
    /// An empty set.
    pub fn new() -> Self {
        Self {
            ids: HashMap::new(),
            names: Vec::new(),
            free: Vec::new(),
            sweep_at: SWEEP_AT_MIN,
        }
    }

    /// The id of `name`, which is added if it is new.
    pub fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.names.push(None);
            NameId(u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX))
        });
        self.names[id.0 as usize] = Some(name.into());
        self.ids.insert(name.into(), id);
        id
    }

    /// The name that `id` stands for.
    pub fn get(&self, id: NameId) -> &str {
        self.names[id.0 as usize].as_deref().unwrap_or_default()
    }

    /// Whether so many names came that a sweep is due.
    pub fn sweep_due(&self) -> bool {
        self.ids.len() >= self.sweep_at
    }

    /// Drops every name that `used` is not called with.
    pub fn sweep(&mut self, each_used: impl FnOnce(&mut dyn FnMut(NameId))) {
        let mut used = vec![false; self.names.len()];
        each_used(&mut |id| used[id.0 as usize] = true);
        for (i, name) in self.names.iter_mut().enumerate() {
            if !used[i]
                && let Some(name) = name.take()
            {
                self.ids.remove(&name);
                self.free.push(NameId(i as u32));
            }
        }
        self.sweep_at = SWEEP_AT_MIN.max(2 * self.ids.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_keeps_what_is_used_and_reuses_the_rest() {
        let mut names = Names::new();
        let ids: Vec<_> = (0..SWEEP_AT_MIN)
            .map(|i| names.intern(&format!("client-{i}")))
            .collect();
        assert!(names.sweep_due());
        assert_eq!(names.intern("client-7"), ids[7]);
        names.sweep(|mark| mark(ids[7]));
        assert!(!names.sweep_due());
        assert_eq!((names.get(ids[7]), names.ids.len()), ("client-7", 1));
        for i in 0..SWEEP_AT_MIN - 1 {
            names.intern(&format!("later-{i}"));
        }
        assert_eq!(
            (names.names.len(), names.get(ids[7])),
            (SWEEP_AT_MIN, "client-7")
        );
    }
}
