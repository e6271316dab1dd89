//! Tells the program which revision it was built from: `ONCEWATCH_REVISION`, given from outside, for
//! example by an image build without the repository, or asked from git.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=ONCEWATCH_REVISION");
    #[expect(clippy::disallowed_methods, reason = "the build's own environment")]
    let given = std::env::var("ONCEWATCH_REVISION").ok();
    let revision = given
        .filter(|revision| !revision.is_empty())
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=ONCEWATCH_REVISION={revision}");
    // The reflog grows with every commit and checkout; HEAD itself only names the branch.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
