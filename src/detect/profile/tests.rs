use super::*;

fn builtin() -> Vec<Profile> {
    profiles(&toml::Table::new(), None).unwrap()
}

fn named(name: &str) -> Profile {
    builtin()
        .into_iter()
        .find(|profile| &*profile.name == name)
        .unwrap()
}

fn class(profile: &Profile, end: &str) -> Class {
    let line = format!(r#"{{"type":"attempt_end","api":"a","token":"t",{end}}}"#);
    profile.classify(&Event::decode(line.as_bytes()).unwrap())
}

#[test]
fn built_in_profiles_are_those_of_the_specification() {
    let all = builtin();
    let of = |p: &Profile| {
        (
            p.token_max_len,
            p.window.as_secs() / 60,
            p.retention.as_secs() / 3600,
        )
    };
    let rows: Vec<_> = all.iter().map(|p| (&*p.name, of(p))).collect();
    assert_eq!(
        rows,
        [
            ("dynamodb.TransactWriteItems", (36, 10, 24)),
            ("dynamodb.ExecuteTransaction", (36, 10, 24)),
            ("stripe", (255, 24 * 60, 24)),
            ("sqs.SendMessage", (128, 5, 1)),
            ("http", (255, 24 * 60, 24)),
            ("default", (512, 24 * 60, 24)),
        ]
    );
    assert!(
        all.iter()
            .all(|p| p.lease.as_secs() == 60 && p.capacity == 65536)
    );
    assert_eq!(
        named("dynamodb.ExecuteTransaction").recovery_delay,
        Some(Duration::from_secs(5))
    );
    assert_eq!(named("stripe").recovery_delay, None);
}

#[test]
fn ends_are_classified_from_top_to_bottom() {
    let dynamodb = named("dynamodb.TransactWriteItems");
    for (end, expected) in [
        (
            r#""outcome":"ok","error":"InternalServerError""#,
            Class::Success,
        ),
        (
            r#""outcome":"no_response","error":"ValidationException""#,
            Class::NoResponse,
        ),
        (
            r#""outcome":"error","error":"x#TransactionInProgressException","http_status":500"#,
            Class::InProgress,
        ),
        (
            r#""outcome":"error","error":"IdempotentParameterMismatchException""#,
            Class::Mismatch,
        ),
        (
            r#""outcome":"error","error":"TransactionCanceledException","http_status":400"#,
            Class::Cancelled,
        ),
        (
            r#""outcome":"error","error":"Other","http_status":429"#,
            Class::Throttled,
        ),
        (
            r#""outcome":"error","error":"ValidationException""#,
            Class::Rejected,
        ),
        (
            r#""outcome":"error","error":"InternalFailure","http_status":400"#,
            Class::ServerError,
        ),
        (
            r#""outcome":"error","error":"RequestTimeout","http_status":503"#,
            Class::ServerError,
        ),
        (r#""outcome":"error","http_status":503"#, Class::ServerError),
        (r#""outcome":"error","http_status":408"#, Class::NoResponse),
        (
            r#""outcome":"error","error":"RequestTimeout","http_status":400"#,
            Class::NoResponse,
        ),
        (
            r#""outcome":"error","error":"ConnectionError""#,
            Class::NoResponse,
        ),
        (
            r#""outcome":"error","error":"SomethingElse","http_status":400"#,
            Class::Rejected,
        ),
    ] {
        assert_eq!(class(&dynamodb, end), expected, "{end}");
    }
    assert_eq!(
        class(&named("http"), r#""outcome":"error","http_status":409"#),
        Class::InProgress
    );
    assert_eq!(
        class(&named("default"), r#""outcome":"error","http_status":409"#),
        Class::Rejected
    );
    assert_eq!(
        class(&named("stripe"), r#""outcome":"error","http_status":429"#),
        Class::Throttled
    );
}

#[test]
fn tokens_are_measured_in_characters() {
    let dynamodb = named("dynamodb.TransactWriteItems");
    assert!(
        dynamodb.accepts(&"é".repeat(36))
            && !dynamodb.accepts(&"x".repeat(37))
            && !dynamodb.accepts("")
    );
    assert!(
        named("http").accepts("a ~")
            && !named("http").accepts("é")
            && !named("http").accepts("\u{7f}")
    );
    let uuid = Profile {
        token_charset: Charset::Uuid,
        ..named("default")
    };
    assert!(uuid.accepts("6B8f0c4e-1d2a-4f3b-9c5d-7e8f90a1b2c3") && !uuid.accepts("6b8f0c4e"));
}

#[test]
fn zones_have_an_edge_only_when_the_server_counts_from_completion() {
    let at = |s| Timestamp::from_seconds(s).unwrap();
    let dynamodb = named("dynamodb.TransactWriteItems");
    let sqs = named("sqs.SendMessage");
    for (profile, now, zone) in [
        (&dynamodb, 599.999, Zone::Inside),
        (&dynamodb, 600.0, Zone::Edge),
        (&dynamodb, 601.999, Zone::Edge),
        (&dynamodb, 602.0, Zone::Past),
        (&sqs, 299.999, Zone::Inside),
        (&sqs, 300.0, Zone::Past),
    ] {
        assert_eq!(profile.zone(at(0.0), at(2.0), at(now)), zone, "{now}");
    }
}

#[test]
fn user_profiles_extend_and_override() {
    let toml = r#"
        [http]
        window = "1h 30m"
        [payments]
        extends = "http"
        codes.in_progress = ["LOCKED"]
        capacity = 10
        [plain]
    "#;
    let all = profiles(&toml.parse().unwrap(), Some(99)).unwrap();
    let of = |name: &str| all.iter().find(|p| &*p.name == name).unwrap();
    assert_eq!(
        (of("http").window.as_secs(), of("http").capacity),
        (5400, 99)
    );
    assert_eq!(
        (of("payments").window.as_secs(), of("payments").capacity),
        (5400, 10)
    );
    assert_eq!(
        class(of("payments"), r#""outcome":"error","http_status":409"#),
        Class::Rejected
    );
    assert_eq!(
        class(of("payments"), r#""outcome":"error","error":"LOCKED""#),
        Class::InProgress
    );
    assert_eq!(
        class(of("payments"), r#""outcome":"error","http_status":422"#),
        Class::Mismatch
    );
    assert_eq!((of("plain").token_max_len, of("plain").capacity), (512, 99));
}

#[test]
fn effective_profiles_read_back() {
    for profile in builtin() {
        let text = format!("[x]\n{}", profile.to_toml());
        let all = profiles(&text.parse().unwrap(), None).unwrap();
        assert_eq!(all.last().unwrap().to_toml(), profile.to_toml());
    }
}

#[test]
fn every_problem_is_named() {
    let toml = r#"
        http = 5
        [x]
        extends = "nobody"
        [y]
        extends = "y"
        window = 10
        lease = "-1s"
        retention = "10"
        capacity = 0
        token_charset = "latin"
        codes.success = ["200"]
        windows = "1m"
    "#;
    let problems = profiles(&toml.parse().unwrap(), None).unwrap_err();
    let fields = [
        "http\":",
        "x\".extends",
        "y\".extends",
        "y\".window:",
        "y\".lease",
        "y\".retention",
        "y\".capacity",
        "y\".token_charset",
        "y\".codes",
        "y\".windows",
    ];
    assert_eq!(problems.len(), fields.len(), "{problems:#?}");
    for field in fields {
        assert!(
            problems.iter().any(|problem| problem.contains(field)),
            "{field}: {problems:#?}"
        );
    }
}
