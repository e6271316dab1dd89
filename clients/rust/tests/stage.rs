//! A process that `processes.rs` starts: it forks, ends and dies in the ways that the client must survive.
#![allow(unsafe_code)]

use std::process::exit;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use oncewatch_client::{Answer, Options, Outcome, begin, flush, flush_on_drop, stats};

fn main() {
    let scene = env::args().nth(1).expect("a scene");
    match scene.as_str() {
        "exit" => leave_with_waiting_events(),
        "stalled-exit" => leave_while_nobody_reads(),
        "sigpipe" => write_to_a_dead_connection(),
        "fork" => fork_and_speak(),
        "fork-idle" => fork_and_look_at_sockets(),
        "fork-busy" => fork_while_other_threads_are_inside(),
        unknown => panic!("no scene {unknown}"),
    }
}

fn report(token: &str) {
    begin("default", token, Options::default()).end(Outcome::Ok, Answer::default());
}

fn leave_with_waiting_events() {
    let _flush = flush_on_drop();
    for index in 0..250 {
        report(&index.to_string());
    }
}

fn leave_while_nobody_reads() {
    let token = "x".repeat(400);
    let began = Instant::now();
    {
        let _flush = flush_on_drop();
        for index in 0..3000 {
            report(&token);
            thread::sleep(Duration::from_millis(u64::from(index % 100 == 0)));
        }
        println!("{} {}", stats().pending, began.elapsed().as_millis());
    }
    println!("{}", began.elapsed().as_millis());
}

fn write_to_a_dead_connection() {
    // SAFETY: the default action runs no code of ours.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.expect("the default action");
    for _ in 0..20 {
        report("t");
        thread::sleep(Duration::from_millis(10));
    }
    println!("alive");
}

/// The child's process id; `child` runs in the child, which then ends without running destructors.
fn forked(child: impl FnOnce()) -> nix::unistd::Pid {
    // SAFETY: with other threads about, the child may only do what is safe in a signal handler. That the client does
    // more (it allocates, locks, starts a thread) is what is tested; glibc makes its allocator usable in the child.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Child => {
            child();
            exit(0);
        }
        ForkResult::Parent { child } => child,
    }
}

fn fork_and_speak() {
    let mut before = begin("default", "before", Options::default());
    flush(Duration::from_secs(1));
    let child = forked(|| {
        before.end(Outcome::Ok, Answer::default());
        report("child");
        let grandchild = forked(|| {
            report("grandchild");
            flush(Duration::from_secs(1));
        });
        waitpid(grandchild, None).expect("the grandchild");
        flush(Duration::from_secs(1));
    });
    waitpid(child, None).expect("the child");
    before.end(
        Outcome::Error,
        Answer {
            error: Some("E"),
            ..Answer::default()
        },
    );
    flush(Duration::from_secs(1));
    println!("{child}");
}

fn sockets() -> usize {
    let open = fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .flatten();
    open.filter(|entry| {
        fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    })
    .count()
}

fn fork_and_look_at_sockets() {
    let inherited = sockets();
    for _ in 0..1500 {
        report("t");
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !stats().connected && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    println!("parent {}", sockets() - inherited);
    let child = forked(|| {
        println!("child before its first event {}", sockets() - inherited);
        // Counts are a process' own as events are, and start no sender that would open a socket.
        stats();
        println!("child after it {}", sockets() - inherited);
    });
    waitpid(child, None).expect("the child");
}

fn fork_while_other_threads_are_inside() {
    for _ in 0..3 {
        thread::spawn(|| {
            loop {
                report("busy");
            }
        });
    }
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let child = forked(|| {
            report("child");
            exit(i32::from(!flush(Duration::from_secs(5))));
        });
        statuses.push(format!("{:?}", waitpid(child, None).expect("the child")));
    }
    let failed: Vec<_> = statuses
        .iter()
        .filter(|status| !status.contains(", 0)"))
        .collect();
    println!("{failed:?}");
    exit(0);
}
