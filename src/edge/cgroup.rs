//! The memory limit that the container has.

use std::fs::read_to_string;
use std::path::Path;

/// Where the system shows a container's own control group.
pub const ROOT: &str = "/sys/fs/cgroup";
/// Version 1 shows what is no limit as a number near the largest.
const NO_LIMIT: u64 = 1 << 60;

/// Bytes of memory after which the process is killed, as the control group at `root` says; `None` if it
/// has no limit or there is none. Of version 2, else of version 1.
pub fn memory_limit(root: &Path) -> Option<u64> {
    let files = ["memory.max", "memory/memory.limit_in_bytes"];
    let text = files
        .iter()
        .find_map(|file| read_to_string(root.join(file)).ok())?;
    let limit: u64 = text.trim().parse().ok()?;
    Some(limit).filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_of_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let limit = || memory_limit(root.path());
        assert_eq!(limit(), None, "no control group");
        std::fs::create_dir(root.path().join("memory")).unwrap();
        let first = root.path().join("memory/memory.limit_in_bytes");
        std::fs::write(&first, "9223372036854771712\n").unwrap();
        assert_eq!(limit(), None);
        std::fs::write(&first, "134217728\n").unwrap();
        assert_eq!(limit(), Some(128 << 20));
        let second = root.path().join("memory.max");
        std::fs::write(&second, "max\n").unwrap();
        assert_eq!(limit(), None, "version 2 decides");
        std::fs::write(&second, "268435456\n").unwrap();
        assert_eq!(limit(), Some(256 << 20));
    }
}
