use std::collections::HashMap;
use std::io::Write;

use super::*;

/// Loads settings from what a test gives; the process environment is never read.
fn load(
    flags: &[(&'static str, &str)],
    variables: &[(&str, &str)],
) -> Result<(Settings, Vec<Warning>), Problems> {
    let mut given = Flags::new();
    for (name, value) in flags {
        given.entry(name).or_default().push((*value).to_owned());
    }
    let variables: HashMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let names: Vec<_> = variables.keys().cloned().collect();
    Settings::load(&given, &|name| variables.get(name).cloned(), &names)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[test]
fn defaults_are_those_of_the_specification() {
    let (settings, warnings) = load(&[], &[("XDG_RUNTIME_DIR", "/nowhere")]).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(settings.socket_mode, 0o666);
    assert_eq!(settings.metrics_addr.to_string(), "127.0.0.1:9464");
    assert_eq!(settings.admin_addr.to_string(), "127.0.0.1:9465");
    assert_eq!(settings.max_line_bytes, 16_384);
    assert_eq!(settings.spans, Trace::Misuse);
    assert_eq!(settings.token_display, TokenDisplay::Hash);
    assert_eq!(
        settings.api,
        ["dynamodb.TransactWriteItems", "dynamodb.ExecuteTransaction"]
    );
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file =
        file("max-connections = 1\nsocket-mode = 0o600\nallow-uid = [1, 2]\nspans = \"all\"\n");
    let variables = [
        ("ONCEWATCH_CONFIG", path(&file)),
        ("ONCEWATCH_MAX_CONNECTIONS", "2"),
        ("ONCEWATCH_ALLOW_UID", "3, 4"),
        ("ONCEWATCH_SPANS", ""),
    ];
    let flags = [("max-connections", "3"), ("max-connections", "4")];
    let (all, _) = load(&flags, &variables).unwrap();
    assert_eq!(all.max_connections, 4);
    assert_eq!(
        all.origin("max-connections"),
        Origin::Flag("max-connections")
    );
    assert_eq!(
        (all.allow_uid.as_slice(), all.socket_mode),
        (&[3, 4][..], 0o600)
    );
    assert_eq!(all.spans, Trace::All, "an empty variable is unset");
    assert_eq!(all.origin("spans"), Origin::File(file.path().to_owned(), 4));
    let (two, _) = load(&[], &variables).unwrap();
    assert_eq!(two.max_connections, 2);
    let (one, _) = load(&[], &variables[..1]).unwrap();
    assert_eq!(one.max_connections, 1);
    let (none, _) = load(&[], &[]).unwrap();
    assert_eq!(none.max_connections, CONNECTIONS_MAX);
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let file = file(
        "socket_mode = \"0660\"\nmax-line-bytes = \"1B\"\napi = [\"stripes\"]\nspans = true\n\n\
         [profiles.mine]\nwindow = 10\n",
    );
    let flags = [("config", path(&file)), ("max-connections", "0")];
    let variables = [
        ("ONCEWATCH_ADMIN_ADDR", "0.0.0.0:9465"),
        ("ONCEWATCH_LOG_LEVEL", "loud"),
    ];
    let problems = load(&flags, &variables).unwrap_err();
    let at = |line: usize| format!("(from {}:{line})", path(&file));
    let text = problems.to_string();
    for expected in [
        format!(
            "socket_mode {}: is not a setting; did you mean \"socket-mode\"?",
            at(1)
        ),
        format!("max-line-bytes {}: \"1B\" is not a size", at(2)),
        format!("api {}: \"stripes\" is not a profile", at(3)),
        format!("spans {}: a boolean is not", at(4)),
        format!("profiles.\"mine\".window {}: must be a duration", at(7)),
        "max-connections (from flag --max-connections): \"0\" is not a whole number from 1".into(),
        "admin-addr (from environment variable ONCEWATCH_ADMIN_ADDR): ".into(),
        "log-level (from environment variable ONCEWATCH_LOG_LEVEL): \"loud\" is not one of".into(),
    ] {
        let found = text.lines().any(|line| line.starts_with(&expected));
        assert!(found, "{expected}\n--- in ---\n{text}");
    }
    assert_eq!(text.lines().count(), 8, "{text}");
}

#[test]
fn an_unknown_api_is_named_with_the_nearest_profile() {
    let problems = load(&[("api", "stripes")], &[]).unwrap_err().to_string();
    assert_eq!(
        problems,
        "api (from flag --api): \"stripes\" is not a profile; did you mean \"stripe\"?"
    );
}

#[test]
fn a_file_that_is_not_toml_is_named_with_its_line() {
    let broken = file("spans = \"all\"\nsocket = \n");
    let problems = load(&[("config", path(&broken))], &[])
        .unwrap_err()
        .to_string();
    assert!(
        problems.starts_with(&format!("config (from {}:2): ", path(&broken))),
        "{problems}"
    );
    let missing = load(&[("config", "no/such/file")], &[])
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("config (from flag --config): no/such/file: No such file"),
        "{missing}"
    );
}

#[test]
fn user_profiles_get_label_values_of_their_own() {
    let file = file("[profiles.payments]\nextends = \"http\"\n[profiles.stripe]\nlease = \"2m\"\n");
    let (settings, _) = load(&[("config", path(&file)), ("capacity", "7")], &[]).unwrap();
    assert_eq!(settings.api[2..], ["payments", "stripe"]);
    assert!(
        settings
            .profiles
            .iter()
            .all(|profile| profile.capacity == 7)
    );
    let (one, _) = load(&[("config", path(&file)), ("api", "http")], &[]).unwrap();
    assert_eq!(one.api, ["http"]);
}

#[test]
fn misspelt_variables_are_warned_of_and_service_links_are_not() {
    let variables = [
        ("ONCEWATCH_SOKCET", "x"),
        ("ONCEWATCH_PORT", "tcp://10.0.0.1:9464"),
        ("ONCEWATCH_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("ONCEWATCH_SERVICE_HOST", "10.0.0.1"),
        ("ONCEWATCH_REVISION", "abc"),
        ("ONCEWATCH_SPANS", "all"),
    ];
    let (_, warnings) = load(&[], &variables).unwrap();
    let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["ONCEWATCH_SOKCET is not a setting; did you mean \"ONCEWATCH_SOCKET\"?"]
    );
}

#[test]
fn the_hash_key_is_shared_and_never_shown() {
    let secret = "correct horse battery staple";
    let key_file = file(&format!("{secret}\n"));
    let (by_file, _) = load(&[("token-hash-key-file", path(&key_file))], &[]).unwrap();
    let (by_variable, none) = load(&[], &[("ONCEWATCH_TOKEN_HASH_KEY", secret)]).unwrap();
    let (by_flag, warned) = load(&[("token-hash-key", secret)], &[]).unwrap();
    assert!(by_file.token_hash_key.is_some());
    assert_eq!(by_file.token_hash_key, by_variable.token_hash_key);
    assert_eq!(by_file.token_hash_key, by_flag.token_hash_key);
    assert_eq!((none.len(), warned.len()), (0, 1));
    assert!(!format!("{by_flag:?}").contains("horse"));
    assert_eq!(by_flag.toml_value("token-hash-key"), None);
    let short = load(&[("token-hash-key", "horse")], &[])
        .unwrap_err()
        .to_string();
    assert!(
        short.contains("shorter than 16 bytes") && !short.contains("horse"),
        "{short}"
    );
    let both = [
        ("token-hash-key", secret),
        ("token-hash-key-file", path(&key_file)),
    ];
    assert!(
        load(&both, &[])
            .unwrap_err()
            .to_string()
            .contains("choose one")
    );
}

#[test]
fn addresses_and_sockets_must_not_clash() {
    let flags = [
        ("metrics-addr", "0.0.0.0:9465"),
        ("socket", "a.sock"),
        ("datagram-socket", "a.sock"),
    ];
    let problems = load(&flags, &[]).unwrap_err().to_string();
    assert!(
        problems.contains("is the same path as socket"),
        "{problems}"
    );
    assert!(
        problems.contains("admin-addr (from flag --metrics-addr): 127.0.0.1:9465 is taken"),
        "{problems}"
    );
    let ports = [
        ("metrics-addr", "127.0.0.1:0"),
        ("admin-addr", "127.0.0.1:0"),
    ];
    assert!(load(&ports, &[]).is_ok());
}
