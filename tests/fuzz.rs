//! Replays the inputs that the fuzzer kept (`tests/fuzz`), as part of every test run.

#![allow(clippy::disallowed_methods)]

#[path = "fuzz/corpus.rs"]
mod corpus;
#[path = "fuzz/targets.rs"]
mod targets;

fn replay(target: &str) {
    let inputs = corpus::read(target).unwrap();
    assert!(inputs.len() >= 10, "{target}: {} inputs", inputs.len());
    // Miri takes some ten thousand times as long.
    let step = if cfg!(miri) { 60 } else { 1 };
    for input in inputs.into_iter().step_by(step) {
        let checked = std::panic::catch_unwind(|| targets::run(target, &input));
        assert!(checked.is_ok(), "{target}: {}", input.escape_ascii());
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let here = corpus::file("corpus", "x");
    let here = here.ancestors().nth(2).unwrap();
    let names = |directory: &str| {
        let entries = std::fs::read_dir(here.join(directory)).unwrap();
        let names = entries.map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = names
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let targets: Vec<_> = targets::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("seeds"), targets);
    assert_eq!(names("corpus"), targets);
}

#[test]
fn what_is_kept_comes_back() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let inputs = vec![vec![], b"\\x41\\".to_vec(), every_byte];
    assert_eq!(corpus::parse(&corpus::text(inputs.clone())), Ok(inputs));
    assert_eq!(corpus::parse("fine\n\\q\n"), Err("\\q"));
}

#[test]
fn the_configuration() {
    replay("config");
}

#[test]
fn events() {
    replay("decode");
}

#[test]
fn lines() {
    replay("framing");
}

#[test]
fn requests() {
    replay("http");
}

#[test]
fn connections() {
    replay("judge");
}

#[test]
fn state_files() {
    replay("state");
}
