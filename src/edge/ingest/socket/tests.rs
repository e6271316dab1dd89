use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tempfile::{TempDir, tempdir};

use super::*;

fn place(directory: &TempDir) -> Place {
    Place::chosen("--socket", directory.path().join("events.sock"))
}

fn refusal(place: &Place) -> String {
    Bound::stream(place, 0o666).unwrap_err().to_string()
}

/// Names in the directory: there must be nothing but what a test put there.
fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn the_mode_is_as_asked_whatever_the_umask() {
    for mode in [0o666, 0o600, 0o660, 0o777] {
        let directory = tempdir().unwrap();
        let place = place(&directory);
        let bound = Bound::stream(&place, mode).unwrap();
        let found = fs::metadata(&place.path).unwrap().mode() & 0o7777;
        assert_eq!(found, mode, "{found:o}");
        UnixStream::connect(&place.path).unwrap();
        assert_eq!(names(directory.path()), ["events.sock"]);
        drop(bound);
        assert!(names(directory.path()).is_empty());
    }
}

#[test]
fn whoever_sees_the_socket_can_connect_and_sees_its_mode() {
    let directory = tempdir().unwrap();
    let place = place(&directory);
    // Each round counts three: being bound, there to stay, on its way out.
    let round = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0;
            while round.load(SeqCst) < 900 {
                let before = round.load(SeqCst);
                let Ok(found) = fs::symlink_metadata(&place.path) else {
                    continue;
                };
                let connected = UnixStream::connect(&place.path);
                assert_eq!(found.mode() & 0o7777, 0o666, "{:o}", found.mode());
                let leaving = round.load(SeqCst) >= before + 2 - before % 3;
                assert!(connected.is_ok() || leaving, "{connected:?}");
                seen += 1;
            }
            seen
        });
        for _ in 0..300 {
            let bound = Bound::stream(&place, 0o666).unwrap();
            round.fetch_add(1, SeqCst);
            std::thread::sleep(Duration::from_micros(200));
            round.fetch_add(1, SeqCst);
            // The file first, as in the acceptor.
            drop(bound.file);
            drop(bound.socket);
            round.fetch_add(1, SeqCst);
        }
        assert!(watcher.join().unwrap() > 10);
    });
}

#[test]
fn a_socket_of_a_dead_process_is_replaced() {
    let directory = tempdir().unwrap();
    let place = place(&directory);
    drop(UnixListener::bind(&place.path).unwrap());
    assert_eq!(names(directory.path()), ["events.sock"]);
    let _bound = Bound::stream(&place, 0o666).unwrap();
    UnixStream::connect(&place.path).unwrap();

    let datagram = Place::chosen("--datagram-socket", directory.path().join("d.sock"));
    drop(UnixDatagram::bind(&datagram.path).unwrap());
    let _bound = Bound::datagram(&datagram, 0o666).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.send_to(b"x", &datagram.path).unwrap();
}

#[test]
fn a_live_socket_is_left_alone() {
    let directory = tempdir().unwrap();
    let place = place(&directory);
    let _bound = Bound::stream(&place, 0o666).unwrap();
    let wanted = format!("--socket: another process serves {}", place.path.display());
    assert_eq!(refusal(&place), wanted);
    let other_type = Bound::datagram(&place, 0o666).unwrap_err();
    assert_eq!(other_type.to_string(), wanted);
    UnixStream::connect(&place.path).unwrap();
}

#[test]
fn a_live_socket_that_accepts_nothing_is_left_alone_too() {
    let directory = tempdir().unwrap();
    let place = place(&directory);
    let socket = open(SocketType::STREAM).unwrap();
    let address = SocketAddrUnix::new(&place.path).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let client = open(SocketType::STREAM).unwrap();
            let answer = rustix::net::connect(&client, &address);
            (client, answer)
        })
        .collect();
    assert!(
        waiting
            .iter()
            .any(|(_, answer)| *answer == Err(Errno::AGAIN))
    );
    assert!(refusal(&place).contains("another process serves"));
}

#[test]
fn what_is_not_a_socket_is_never_removed() {
    let directory = tempdir().unwrap();
    let place = place(&directory);
    fs::write(&place.path, "precious").unwrap();
    assert!(
        refusal(&place)
            .ends_with("events.sock is a file, not a socket; remove it or set another path")
    );
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");

    fs::remove_file(&place.path).unwrap();
    fs::create_dir(&place.path).unwrap();
    assert!(refusal(&place).contains("is a directory, not a socket"));
    fs::remove_dir(&place.path).unwrap();

    // Neither a link that leads nowhere nor one to a stale socket.
    let target = directory.path().join("target");
    symlink(&target, &place.path).unwrap();
    assert!(refusal(&place).contains("is a symbolic link, not a socket"));
    drop(UnixListener::bind(&target).unwrap());
    assert!(refusal(&place).contains("is a symbolic link, not a socket"));
    assert_eq!(names(directory.path()), ["events.sock", "target"]);
}

#[test]
fn of_two_that_start_at_once_one_wins() {
    for round in 0..25 {
        let directory = tempdir().unwrap();
        let place = place(&directory);
        drop(UnixListener::bind(&place.path).unwrap());
        let barrier = Barrier::new(4);
        let results: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                Bound::stream(&place, 0o666)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        let in_use = |r: &&Result<_, _>| matches!(r, Err(BindError::InUse { .. }));
        let lost = results.iter().filter(in_use).count();
        assert_eq!((won, lost), (1, 3), "round {round}: {results:?}");
        UnixStream::connect(&place.path).unwrap();
    }
}

#[test]
fn a_directory_that_another_process_keeps_locked_is_an_error() {
    let directory = tempdir().unwrap();
    let held = fs::File::open(directory.path()).unwrap();
    rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
    assert!(refusal(&place(&directory)).contains("holds the lock of"));
}

#[test]
fn a_path_that_does_not_fit_is_named_with_its_setting() {
    let directory = tempdir().unwrap();
    let room = PATH_BYTES_MAX - directory.path().as_os_str().len() - 1;
    let fits = Place::chosen("--socket", directory.path().join("s".repeat(room)));
    let _bound = Bound::stream(&fits, 0o666).unwrap();
    UnixStream::connect(&fits.path).unwrap();
    let long = Place::chosen(
        "--datagram-socket",
        directory.path().join("s".repeat(room + 1)),
    );
    let error = Bound::datagram(&long, 0o666).unwrap_err().to_string();
    assert!(error.starts_with("--datagram-socket: "), "{error}");
    assert!(
        error.ends_with("longer than the 107 bytes that a socket path may have"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_no_longer_ours_stays() {
    let directory = tempdir().unwrap();
    let place = place(&directory);
    let bound = Bound::stream(&place, 0o666).unwrap();
    fs::remove_file(&place.path).unwrap();
    let successor = Bound::stream(&place, 0o666).unwrap();
    drop(bound);
    UnixStream::connect(&place.path).unwrap();
    drop(successor);
    assert!(names(directory.path()).is_empty());
}

#[test]
fn missing_directories_are_made() {
    let directory = tempdir().unwrap();
    let mut place = Place::chosen("--socket", directory.path().join("a/b/events.sock"));
    let _bound = Bound::stream(&place, 0o666).unwrap();
    assert!(place.path.exists());

    place.path = directory.path().join("own/events.sock");
    place.private = true;
    let _own = Bound::stream(&place, 0o666).unwrap();
    let mode = fs::metadata(directory.path().join("own")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn a_private_directory_that_others_could_change_is_refused() {
    let directory = tempdir().unwrap();
    let own = directory.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    let mut place = Place::chosen("--socket", own.join("events.sock"));
    place.private = true;
    assert!(refusal(&place).contains("only its owner, this user, can write to"));

    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&own, directory.path().join("link")).unwrap();
    place.path = directory.path().join("link/events.sock");
    assert!(refusal(&place).contains("only its owner, this user, can write to"));
}

#[test]
fn the_default_is_the_first_directory_that_will_do() {
    let directory = tempdir().unwrap();
    let shared = directory.path().join("run");
    let variables = |name: &str| match name {
        "XDG_RUNTIME_DIR" => Some(OsString::from("/runtime")),
        "TMPDIR" => Some(OsString::from("/var/scratch")),
        _ => None,
    };
    let found = Place::default_below(&shared, variables);
    assert_eq!(found.path, Path::new("/runtime/oncewatch/events.sock"));
    assert!(found.private);
    let no_runtime = |name: &str| variables(name).filter(|_| name == "TMPDIR");
    let uid = rustix::process::geteuid().as_raw();
    let found = Place::default_below(&shared, no_runtime).path;
    assert_eq!(
        found,
        PathBuf::from(format!("/var/scratch/oncewatch-{uid}/events.sock"))
    );
    // The standard says that a relative path is to be ignored.
    let relative = |_: &str| Some(OsString::from("here"));
    let found = Place::default_below(&shared, relative).path;
    assert_eq!(
        found,
        PathBuf::from(format!("/tmp/oncewatch-{uid}/events.sock"))
    );
    fs::create_dir(&shared).unwrap();
    let found = Place::default_below(&shared, variables);
    assert_eq!(
        (found.path, found.private),
        (shared.join("events.sock"), false)
    );
}
