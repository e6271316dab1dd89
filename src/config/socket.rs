//! Where the stream socket is when nobody says where (SPEC §6).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directory of the socket that a pod's containers share.
pub const SOCKET_DIRECTORY: &str = "/run/oncewatch";
const NAME: &str = "events.sock";

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The sidecar's default: in the shared directory if that is writable, else below
/// `$XDG_RUNTIME_DIR`, else in a directory of this user's below the temporary one.
pub fn default_socket(lookup: Lookup<'_>) -> PathBuf {
    default_below(Path::new(SOCKET_DIRECTORY), lookup)
}

fn default_below(shared: &Path, lookup: Lookup<'_>) -> PathBuf {
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if shared.is_dir() && rustix::fs::access(shared, access).is_ok() {
        return shared.join(NAME);
    }
    let runtime = runtime_directory(lookup);
    runtime
        .unwrap_or_else(|| private_directory(lookup))
        .join(NAME)
}

/// Where a sender looks: the first default that is there, else the shared one.
///
/// Anybody can make a directory in the temporary one, so there only this user's own is trusted
/// with tokens.
pub fn found_socket(lookup: Lookup<'_>) -> PathBuf {
    found_below(Path::new(SOCKET_DIRECTORY), lookup)
}

fn found_below(shared: &Path, lookup: Lookup<'_>) -> PathBuf {
    let shared = shared.join(NAME);
    let private = Some(private_directory(lookup)).filter(|directory| is_own(directory));
    let others = [runtime_directory(lookup), private];
    let others = others.into_iter().flatten().map(|dir| dir.join(NAME));
    let mut candidates = std::iter::once(shared.clone()).chain(others);
    candidates.find(|path| path.exists()).unwrap_or(shared)
}

fn absolute(lookup: Lookup<'_>, name: &str) -> Option<PathBuf> {
    lookup(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

fn runtime_directory(lookup: Lookup<'_>) -> Option<PathBuf> {
    absolute(lookup, "XDG_RUNTIME_DIR").map(|directory| directory.join("oncewatch"))
}

fn private_directory(lookup: Lookup<'_>) -> PathBuf {
    let temporary = absolute(lookup, "TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    let uid = rustix::process::geteuid().as_raw();
    temporary.join(format!("oncewatch-{uid}"))
}

fn is_own(directory: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    std::fs::symlink_metadata(directory).is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o022 == 0
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_sender_trusts_only_its_own_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().to_str().unwrap().to_owned();
        let lookup = |name: &str| (name == "TMPDIR").then(|| root.clone());
        let directory = private_directory(&lookup);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join(NAME), "").unwrap();
        let shared = temporary.path().join("shared");
        let mode = |mode| std::fs::set_permissions(&directory, PermissionsExt::from_mode(mode));
        mode(0o700).unwrap();
        assert_eq!(found_below(&shared, &lookup), directory.join(NAME));
        mode(0o777).unwrap();
        assert_eq!(found_below(&shared, &lookup), shared.join(NAME));
        mode(0o700).unwrap();
        std::fs::create_dir(&shared).unwrap();
        std::fs::write(shared.join(NAME), "").unwrap();
        assert_eq!(found_below(&shared, &lookup), shared.join(NAME));
    }

    #[test]
    fn the_shared_directory_comes_first_and_the_temporary_one_last() {
        let with = |runtime: &'static str| {
            move |name: &str| match name {
                "XDG_RUNTIME_DIR" => Some(runtime.to_owned()),
                "TMPDIR" => Some("/elsewhere".to_owned()),
                _ => None,
            }
        };
        let there = tempfile::tempdir().unwrap();
        let missing = there.path().join("missing");
        let of = |runtime| default_below(&missing, &with(runtime));
        assert_eq!(of("/nowhere"), Path::new("/nowhere/oncewatch/events.sock"));
        let uid = rustix::process::geteuid().as_raw();
        let private = format!("/elsewhere/oncewatch-{uid}/events.sock");
        assert_eq!(of("relative"), Path::new(&private));
        assert_eq!(of(""), Path::new(&private));
        let shared = default_below(there.path(), &with("/nowhere"));
        assert_eq!(shared, there.path().join(NAME));
    }
}
