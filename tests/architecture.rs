//! Holds the walls of the house up: what the source may import, where it may look at the clock and
//! the environment, and what the repository's top level may contain.
//!
//! Reads the source as tokens, without comments, strings and test modules. It is not a compiler: a
//! macro could hide a path from it. `.clippy.toml` watches the same rules with resolved names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "support/source.rs"]
mod source;

use source::{Source, Token};

/// Crates that the pure part may use besides `std`.
const PURE_CRATES: [&str; 9] = [
    "hashbrown",
    "lru",
    "memchr",
    "serde",
    "serde_json",
    "thiserror",
    "siphasher",
    "jiff",
    "toml",
];
/// Modules of `std` without effects. What is not listed is refused: a new one gets a thought.
const PURE_STD: [&str; 16] = [
    "borrow",
    "cmp",
    "collections",
    "convert",
    "error",
    "fmt",
    "hash",
    "iter",
    "mem",
    "num",
    "ops",
    "ptr",
    "result",
    "slice",
    "str",
    "string",
];
/// Macros that write, read the build's surroundings, or bring in code from elsewhere.
const IMPURE_MACROS: [&str; 10] = [
    "print",
    "println",
    "eprint",
    "eprintln",
    "dbg",
    "env",
    "option_env",
    "include",
    "include_bytes",
    "thread_local",
];
/// Words that have no place in the pure part whatever path they stand in.
const IMPURE_WORDS: [&str; 6] = [
    "async",
    "await",
    "Instant",
    "SystemTime",
    "extern",
    "unsafe",
];

/// Lower layers first; a module may use itself and those below it.
const LAYERS: [&str; 6] = ["detect", "metrics", "pipeline", "edge", "daemon", "cli"];
/// Modules that may read settings; `config` itself stands on `detect` alone.
const READ_CONFIG: [&str; 4] = ["config", "edge", "daemon", "cli"];

/// Longest file, in lines outside tests. The aim is 400.
const FILE_LINES_MAX: usize = 450;
/// Files that are longer, each with the length that it must not exceed.
const LONGER_FILES: [(&str, usize); 1] = [("src/detect.rs", 540)];
const MAIN_LINES_MAX: usize = 60;

/// Entries of the repository's top level, besides those that `.gitignore` names.
const TOP_LEVEL: [&str; 14] = [
    ".ci",
    ".clippy.toml",
    ".git",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    // Where those look who found a weakness, and the hosting sites.
    "SECURITY.md",
    "clients",
    "dashboards",
    "deploy",
    "src",
    "tests",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files below `directory`, by path relative to the repository, in order.
fn rust_files(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(directory)];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative: PathBuf = path.strip_prefix(root()).unwrap().into();
                found.push(relative.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The program's own files: below `src`, without files that hold nothing but tests.
fn program() -> Vec<Source> {
    let files = rust_files("src");
    let files = files.iter().filter(|path| !path.ends_with("tests.rs"));
    files
        .map(|path| Source::new(path, &fs::read_to_string(root().join(path)).unwrap()))
        .collect()
}

/// Names under which the package's dependencies appear in its code.
fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .filter_map(|kind| manifest.get(kind)?.as_table())
        .flat_map(|table| table.keys())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn is_pure(path: &str) -> bool {
    path == "src/detect.rs" || path.starts_with("src/detect/")
}

/// What a file of the pure part does that it must not.
fn impurities(source: &Source, dependencies: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for path in source.paths() {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let allowed = match names[..] {
            ["std" | "core" | "alloc", "time", "Duration", ..] => true,
            ["std" | "core" | "alloc", module, ..] => PURE_STD.contains(&module),
            ["std" | "core" | "alloc"] => false,
            [first, ..] => !dependencies.contains(first) || PURE_CRATES.contains(&first),
            [] => true,
        };
        if !allowed {
            found.push(names.join("::"));
        }
    }
    for pair in source.tokens.windows(2) {
        match (&pair[0], &pair[1]) {
            (Token::Word(word), Token::Sign('!')) if IMPURE_MACROS.contains(&word.as_str()) => {
                found.push(format!("{word}!"));
            }
            (Token::Word(word), _) if IMPURE_WORDS.contains(&word.as_str()) => {
                found.push(word.clone());
            }
            (Token::Word(a), Token::Word(b)) if a == "static" && b == "mut" => {
                found.push("static mut".to_owned());
            }
            _ => {}
        }
    }
    found
}

/// The paths by which a file reaches into a module of its crate that stands above it.
fn climbs(source: &Source) -> Vec<String> {
    let own = source.module_path();
    let Some(module) = own.first().map(String::as_str) else {
        return Vec::new();
    };
    let rank = |module: &str| LAYERS.iter().position(|layer| *layer == module);
    let is_allowed = |used: &str| match (module, used) {
        _ if used == module => true,
        (_, "config") => READ_CONFIG.contains(&module),
        ("config", _) => used == "detect",
        ("main", _) => used == "cli",
        _ => matches!((rank(module), rank(used)), (Some(own), Some(used)) if used < own),
    };
    let mut found = Vec::new();
    for path in source.paths() {
        let Some(used) = crate_module(&path, own.len()) else {
            continue;
        };
        if !is_allowed(&used) {
            found.push(path.join("::"));
        }
    }
    found
}

/// The top-level module of this crate that a path used at `depth` leads to, if it leaves its own.
fn crate_module(path: &[String], depth: usize) -> Option<String> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    let rest = match path.first()?.as_str() {
        "crate" | "oncewatch" => &path[1..],
        // A path that climbs to the crate's root by itself.
        "super" if supers >= depth => &path[supers..],
        _ => return None,
    };
    Some(
        rest.first()
            .map_or("(the whole crate)", |name| name)
            .to_owned(),
    )
}

/// Readings of a clock, or of the environment at run time.
fn outside_readings(source: &Source) -> (Vec<String>, Vec<String>) {
    let mut clocks = Vec::new();
    let mut environment = Vec::new();
    for path in source.paths() {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let text = names.join("::");
        match names[..] {
            [
                ..,
                "Instant" | "SystemTime" | "Zoned" | "Utc" | "Local",
                "now",
            ] => clocks.push(text),
            ["jiff", .., "Timestamp", "now"] => clocks.push(text),
            ["std", "env", ..] | ["env", _, ..] => environment.push(text),
            _ => {}
        }
    }
    (clocks, environment)
}

fn assert_none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// `file: what` for everything that `check` finds in the files that `which` selects.
fn everywhere(which: impl Fn(&str) -> bool, check: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    let files = program();
    let files: Vec<_> = files.iter().filter(|file| which(&file.path)).collect();
    assert!(!files.is_empty(), "no file to look at");
    let of = |file: &&Source| {
        let path = file.path.clone();
        let found = check(file).into_iter();
        found
            .map(move |what| format!("{path}: {what}"))
            .collect::<Vec<_>>()
    };
    files.iter().flat_map(of).collect()
}

#[test]
fn the_detector_is_pure() {
    let dependencies = dependencies();
    for name in PURE_CRATES {
        assert!(dependencies.contains(name), "{name} is not a dependency");
    }
    let found = everywhere(is_pure, |file| impurities(file, &dependencies));
    assert_none("the pure part must do nothing but compute", found);
}

#[test]
fn impure_code_would_be_found() {
    let dependencies = dependencies();
    let impurities =
        |text: &str| impurities(&Source::new("src/detect/bad.rs", text), &dependencies);
    for bad in [
        "use tokio::sync::mpsc;",
        "use std::{fmt, io};",
        "use std::{collections::{HashMap, hash_map}, sync::{Arc, Mutex}};",
        "use std::net::*;",
        "use std::*;",
        "use std as s;",
        "use std::time;",
        "use std::time::{self, Duration};",
        "use ::std::fs;",
        "use std::time::Instant;",
        "fn f() { let x = std::env::var(\"HOME\"); }",
        "fn f() -> u64 { ::std::process::id().into() }",
        "fn f() { std::thread::sleep(D) }",
        "pub(in crate::detect) use prometheus::Counter as Count;",
        "fn f() { tracing::info!(\"x\"); }",
        "fn f() { opentelemetry::global::shutdown() }",
        "async fn f() {}",
        "fn f() { g().await }",
        "fn f() { println!(\"x\") }",
        "fn f() { dbg !(1); }",
        "const HOME: &str = env!(\"HOME\");",
        "static mut COUNT: u32 = 0;",
        "extern crate hyper;",
        "fn f<'a>(c: &'a char) { if *c == '\"' { std::fs::remove_file(\"x\"); } }",
        "fn f() { g(r#\"\"\"#, std::io::stdin()) }",
        "/* /* nested */ */ use anyhow::Context;",
        "#[cfg(test)]\nuse std::fmt;\nuse hyper::Request;",
        "#[cfg(not(test))]\nmod inner { use std::io; }",
    ] {
        assert!(!impurities(bad).is_empty(), "not found: {bad}");
    }
    for good in [
        "use std::{borrow::Cow, collections::HashMap, time::Duration};",
        "use serde::{Serialize, de::{self, Error as _}};",
        "// use std::io;\n/* std::fs */ fn f() {}",
        "/// [`std::io`]\nfn f() -> &'static str { \"std::io async Instant\" }",
        "fn f() -> char { '\"' } // \"\nfn g() -> &'static str { r##\"std::io\"# \"## }",
        "fn print(print: u8) -> u8 { print }",
        "#[cfg(test)]\nmod tests { use std::io; fn f() { println!(\"}\") } }",
        "#[cfg(test)]\nfn f() { std::fs::read(\"x\"); }\nfn g() {}",
    ] {
        assert_eq!(impurities(good), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn dependencies_run_one_way() {
    let modules: BTreeSet<_> = LAYERS.into_iter().chain(["config"]).collect();
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared = Source::new("src/lib.rs", &lib).declared_modules();
    let declared: BTreeSet<_> = declared.iter().map(String::as_str).collect();
    assert_eq!(
        declared, modules,
        "a module without a place among the layers"
    );
    let found = everywhere(
        |path| path != "src/lib.rs" && path != "src/build.rs",
        climbs,
    );
    let order = "main → cli → daemon → edge → pipeline → metrics → detect";
    assert_none(&format!("dependencies run one way, {order}"), found);
}

#[test]
fn a_climbing_dependency_would_be_found() {
    let climbs = |path: &str, text: &str| climbs(&Source::new(path, text));
    for (path, bad) in [
        ("src/detect/token.rs", "use crate::metrics::Metrics;"),
        ("src/detect.rs", "use crate::config::Settings;"),
        ("src/detect/token.rs", "use super::super::edge::clock;"),
        ("src/detect.rs", "use super::pipeline;"),
        (
            "src/metrics.rs",
            "use crate::{detect::Detector, edge::clock};",
        ),
        ("src/metrics/family.rs", "fn f() { crate::pipeline::x() }"),
        ("src/pipeline.rs", "use crate::config::Settings;"),
        ("src/edge/admin.rs", "use crate::daemon::Daemon;"),
        ("src/edge/admin.rs", "use crate::*;"),
        ("src/daemon.rs", "use crate::cli::Failure;"),
        ("src/config/parse.rs", "use crate::edge::display::HashKey;"),
        ("src/main.rs", "use oncewatch::daemon;"),
        ("src/detect/token.rs", "pub(in crate::edge) fn f() {}"),
    ] {
        assert!(!climbs(path, bad).is_empty(), "not found: {path}: {bad}");
    }
    for (path, good) in [
        (
            "src/edge/admin/tokens.rs",
            "use super::super::display::TokenDisplay;",
        ),
        (
            "src/edge/spans.rs",
            "use crate::{config::Settings, metrics::Metrics};",
        ),
        ("src/cli/send.rs", "use super::{Environment, Failure};"),
        ("src/main.rs", "use oncewatch::cli::{self, Cli};"),
    ] {
        assert_eq!(climbs(path, good), Vec::<String>::new(), "{path}: {good}");
    }
}

#[test]
fn one_file_reads_the_clock_and_three_the_environment() {
    let found = everywhere(
        |path| path != "src/edge/clock.rs",
        |file| outside_readings(file).0,
    );
    assert_none("only src/edge/clock.rs reads a clock", found);
    // The build script runs before there is a program.
    let readers = ["src/main.rs", "src/config.rs", "src/build.rs"];
    let found = everywhere(
        |path| !readers.contains(&path),
        |file| outside_readings(file).1,
    );
    assert_none("only main and config read the environment", found);
    let clock = fs::read_to_string(root().join("src/edge/clock.rs")).unwrap();
    let (clocks, _) = outside_readings(&Source::new("src/edge/clock.rs", &clock));
    assert_eq!(clocks, ["Instant::now", "SystemTime::now"]);
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    let (_, environment) = outside_readings(&Source::new("src/main.rs", &main));
    assert_eq!(environment, ["std::env::var_os", "std::env::vars_os"]);
}

#[test]
fn files_are_named_after_what_they_hold() {
    let vague = [
        "mod.rs",
        "utils.rs",
        "util.rs",
        "helpers.rs",
        "common.rs",
        "misc.rs",
    ];
    let files = ["src", "tests"].into_iter().flat_map(rust_files);
    let found = files.filter(|path| vague.contains(&path.rsplit('/').next().unwrap()));
    assert_none(
        "`foo.rs` beside `foo/`, never `mod.rs`; no drawer for the rest",
        found.collect(),
    );
}

#[test]
fn files_stay_short() {
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    let lines = main.lines().count();
    assert!(lines <= MAIN_LINES_MAX, "src/main.rs has {lines} lines");
    let mut found = Vec::new();
    for file in program() {
        let Source { path, lines, .. } = &file;
        let longer = LONGER_FILES.iter().find(|(name, _)| name == path);
        let limit = longer.map_or(FILE_LINES_MAX, |(_, limit)| *limit);
        if *lines > limit {
            found.push(format!(
                "{path} has {lines} lines outside tests, {limit} are allowed"
            ));
        }
        let needless = longer.is_some() && *lines <= FILE_LINES_MAX;
        assert!(!needless, "{path} has become short: take it off the list");
    }
    assert_none("files stay short", found);
}

#[test]
fn every_package_carries_the_licence() {
    let licence = fs::read_to_string(root().join("LICENSE")).unwrap();
    let places = [
        "python",
        "node",
        "go",
        "rust",
        "java/src/main/resources/META-INF",
    ];
    for place in places {
        let path = root().join("clients").join(place).join("LICENSE");
        let copy = fs::read_to_string(&path).unwrap_or_default();
        assert!(copy == licence, "{} is not LICENSE", path.display());
    }
}

#[test]
fn the_top_level_is_the_house() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: Vec<_> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let names = fs::read_dir(root()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strange = names.filter(|name| {
        let name = name.as_str();
        !TOP_LEVEL.contains(&name) && !ignored.contains(&name)
    });
    assert_none(
        "the top level holds what README and STYLE name, nothing else",
        strange.collect(),
    );
}
