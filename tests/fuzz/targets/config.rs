//! Settings from a file and variables: every fault is said in one line, no secret is, and what
//! `check-config` prints reads back as the same settings.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use oncewatch::config::catalogue::SETTINGS;
use oncewatch::config::{Flags, Settings};

/// A file, and after a line `---` variables as `NAME=value`.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Other files, which could be pipes that nobody writes to.
    if ["key-file", "KEY_FILE", "_CONFIG"]
        .iter()
        .any(|name| text.contains(name))
    {
        return;
    }
    let (file, variables) = text.split_once("\n---\n").unwrap_or((text, ""));
    let pairs = variables.lines().filter_map(|line| line.split_once('='));
    let mut variables: BTreeMap<_, _> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let secret = variables.get("ONCEWATCH_TOKEN_HASH_KEY").cloned();
    match load(file, &mut variables) {
        Err(problems) => {
            for problem in problems.lines() {
                let hidden = secret
                    .as_ref()
                    .is_none_or(|secret| secret.len() < 16 || !problem.contains(secret));
                assert!(hidden, "a problem tells the secret");
            }
            assert!(!problems.trim().is_empty(), "a failure without a reason");
        }
        Ok(settings) => reads_back(&settings),
    }
}

fn reads_back(settings: &Settings) {
    let mut text = String::new();
    for setting in SETTINGS {
        if let Some(value) = settings.toml_value(setting.name) {
            text += &format!("{} = {value}\n", setting.name);
        }
    }
    for profile in &settings.profiles {
        text += &format!(
            "[profiles.{}]\n{}",
            oncewatch::config::toml_text(&profile.name),
            profile.to_toml()
        );
    }
    let again = load(&text, &mut BTreeMap::new());
    let again = again.unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"));
    for setting in SETTINGS {
        let (was, is) = (
            settings.toml_value(setting.name),
            again.toml_value(setting.name),
        );
        assert_eq!(was, is, "{}", setting.name);
    }
    let rules = |settings: &Settings| {
        let rules = settings.profiles.iter();
        rules
            .map(|profile| (profile.name.clone(), profile.to_toml()))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(rules(settings), rules(&again));
}

fn load(text: &str, variables: &mut BTreeMap<String, String>) -> Result<Settings, String> {
    thread_local! {
        static FILE: RefCell<(tempfile::TempDir, PathBuf)> = RefCell::new({
            let directory = tempfile::tempdir().expect("a temporary directory");
            let path = directory.path().join("oncewatch.toml");
            (directory, path)
        });
    }
    let path = FILE.with_borrow(|(_, path)| path.clone());
    std::fs::write(&path, text).map_err(|error| error.to_string())?;
    let path = path.to_string_lossy().into_owned();
    let flags = Flags::from([("config", vec![path])]);
    let names: Vec<_> = variables.keys().cloned().collect();
    let settings = Settings::load(&flags, &|name| variables.get(name).cloned(), &names);
    settings
        .map(|(settings, _)| settings)
        .map_err(|problems| problems.to_string())
}
