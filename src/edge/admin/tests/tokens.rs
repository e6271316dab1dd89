use super::*;
use crate::detect::Selection;

#[tokio::test]
async fn tokens_are_found_by_text_and_by_what_is_shown() {
    let admin = admin();
    let start = |token: &str, scope: &str| {
        format!(
            r#"{{"type":"attempt_start","api":"my/api","token":"{token}","scope":"{scope}","client":"a/1","call":"c-{scope}"}}"#
        )
    };
    let events = [start("o 1/2", "x"), start("o 1/2", "y"), start("o 3", "x")];
    let end = r#"{"type":"attempt_end","api":"my/api","token":"o 1/2","scope":"x","client":"a/1","call":"c-x","outcome":"ok"}"#;
    tell(&admin, &[&events[0], &events[1], &events[2], end]);
    tell(&admin, &[&start("other", "").replace("my/api", "stripe")]);

    let shown = admin.parts.display.show("o 1/2");
    for name in ["o%201%2F2", "o%201/2", &shown] {
        let (status, answer) = get(&admin, &format!("/api/v1/tokens/my%2Fapi/{name}")).await;
        assert_eq!(status, 200, "{name}: {answer}");
        let mut found: Vec<_> = answer["tokens"].as_array().unwrap().iter().collect();
        found.sort_by_key(|token| token["scope"].to_string());
        let brief = |token: &&Value| {
            let names = ["scope", "token", "status"];
            names.map(|name| token[name].as_str().unwrap().to_owned())
        };
        let found_briefly: Vec<_> = found.iter().map(brief).collect();
        let x = ["x", &*shown, "succeeded"].map(str::to_owned);
        let y = ["y", &*shown, "in_flight"].map(str::to_owned);
        assert_eq!(found_briefly, [x, y], "{name}");
        assert_eq!(found[0]["attempts"][0]["class"], "success");
        assert_eq!(found[1]["attempts"][0]["verdict"], "first_use");
    }
    let hash_of_none = admin.parts.display.show("o 4");
    for missing in [
        "my%2Fapi/o%204",
        &format!("my%2Fapi/{hash_of_none}"),
        "stripe/o%203",
    ] {
        let (status, _) = get(&admin, &format!("/api/v1/tokens/{missing}")).await;
        assert_eq!(status, 404, "{missing}");
    }

    let expired = clock::now() + Duration::from_secs(10 * 24 * 3600);
    let listed = body(admin.tokens("", expired).await.unwrap()).await;
    let none = "{\"tokens\":[],\"total\":0,\"offset\":0,\"complete\":true}\n";
    assert_eq!(listed, none);
    let token = admin.token("my/api".into(), "o 3".into(), expired).await;
    assert!(matches!(token, Err(Refusal::NotFound(_))));
}

/// Tokens of a list by what is shown of them, and how many there are in all.
async fn listed(admin: &Arc<Admin>, query: &str) -> (Vec<String>, u64) {
    let (status, answer) = get(admin, &format!("/api/v1/tokens?{query}")).await;
    assert_eq!(status, 200, "{query}: {answer}");
    assert_eq!(answer["complete"], true);
    let tokens = answer["tokens"].as_array().unwrap();
    let shown = |token: &Value| token["token"].as_str().unwrap().to_owned();
    (
        tokens.iter().map(shown).collect(),
        answer["total"].as_u64().unwrap(),
    )
}

#[tokio::test]
async fn the_list_is_filtered_sorted_and_paged() {
    let admin = admin_with(TokenDisplay::Full);
    for token in ["t1", "t2", "t3"] {
        tell(&admin, &[&started("my/api", token, "a/1")]);
    }
    tell(&admin, &[&started("stripe", "u1", "a/1")]);
    let end = |token: &str, outcome: &str| {
        format!(
            r#"{{"type":"attempt_end","api":"my/api","token":"{token}","call":"c-{token}","client":"a/1","outcome":"{outcome}"}}"#
        )
    };
    tell(&admin, &[&end("t1", "ok"), &end("t2", "no_response")]);
    tell(&admin, &[&started("my/api", "t1", "b/1")]);

    let all: [(&str, &[&str], u64); 14] = [
        ("", &["t1", "t2", "u1", "t3"], 4),
        ("api=my/api", &["t1", "t2", "t3"], 3),
        ("api=other", &[], 0),
        ("status=in_flight", &["u1", "t3"], 2),
        ("status=unknown", &["t2"], 1),
        ("status=undecided", &["t2", "u1", "t3"], 3),
        ("status=stuck", &[], 0),
        ("q=t", &["t1", "t2", "t3"], 3),
        ("q=3", &["t3"], 1),
        ("q=1&status=succeeded", &["t1"], 1),
        ("sort=first_start", &["u1", "t3", "t2", "t1"], 4),
        ("sort=attempts&limit=1", &["t1"], 4),
        (
            "sort=first_start&order=asc&offset=1&limit=2",
            &["t2", "t3"],
            4,
        ),
        ("offset=4", &[], 4),
    ];
    for (query, expected, total) in all {
        assert_eq!(
            listed(&admin, query).await,
            (expected.iter().map(|t| t.to_string()).collect(), total),
            "{query}"
        );
    }
    let later = clock::now() + Duration::from_secs(61);
    let stuck = body(
        admin
            .tokens("status=stuck&sort=first_start", later)
            .await
            .unwrap(),
    )
    .await;
    let stuck: Value = serde_json::from_str(&stuck).unwrap();
    assert_eq!(stuck["total"], 3);
    assert_eq!(stuck["tokens"][0]["stuck"], true);
}

#[tokio::test]
async fn a_search_tells_no_more_than_is_shown() {
    let admin = admin();
    tell(&admin, &[&started("stripe", "secret-17", "a/1")]);
    let shown = admin.parts.display.show("secret-17");
    for (query, found) in [
        ("secret-17", true),
        ("secret-1", false),
        ("secret", false),
        (&*shown, true),
        (&shown[3..9], true),
    ] {
        let (tokens, _) = listed(&admin, &format!("q={query}")).await;
        assert_eq!(!tokens.is_empty(), found, "{query}");
    }
}

#[tokio::test]
async fn a_walk_goes_through_every_slice_and_table() {
    let admin = admin_with(TokenDisplay::Full);
    let tokens: Vec<_> = (0..10_000)
        .map(|n| started("my/api", &format!("n{n}"), "a/1"))
        .collect();
    for token in &tokens {
        tell(&admin, &[token]);
    }
    tell(&admin, &[&started("stripe", "last", "a/1")]);
    let (found, total) = listed(&admin, "order=asc&offset=9999&limit=5").await;
    assert_eq!(
        (found, total),
        (vec!["n9999".to_owned(), "last".to_owned()], 10_001)
    );
    // Those with more than one attempt have to be unpacked, and are fewer to a step.
    for token in &tokens[..700] {
        tell(&admin, &[&token.replace("c-", "again-")]);
    }
    let (found, total) = listed(&admin, "sort=attempts&offset=699&limit=2").await;
    assert_eq!((found[0].as_str(), total), ("n699", 10_001));
    let (_, answer) = get(&admin, "/api/v1/tokens?sort=attempts&offset=699&limit=2").await;
    assert_eq!(answer["tokens"][0]["attempt_count"], 2);
    assert_eq!(answer["tokens"][1]["attempt_count"], 1);
    let (found, total) = listed(&admin, "q=n77").await;
    assert_eq!(
        (found.len(), total),
        (100, 111),
        "limit and number of matches"
    );
    let (_, answer) = get(&admin, "/api/v1/tokens/my%2Fapi/n0").await;
    assert_eq!(answer["tokens"][0]["attempt_count"], 2);
}

#[tokio::test]
async fn a_token_is_found_in_every_scope_up_to_a_limit() {
    let admin = admin_with(TokenDisplay::Full);
    let start = |token: &str, scope: u32| {
        started("my/api", token, "a/1").replace("{", &format!("{{\"scope\":\"s{scope}\","))
    };
    for scope in 0..600 {
        tell(&admin, &[&start("everywhere", scope)]);
    }
    tell(&admin, &[&start("late", 599)]);
    let (_, answer) = get(&admin, "/api/v1/tokens/my%2Fapi/late").await;
    assert_eq!(answer["tokens"][0]["scope"], "s599");
    let (_, answer) = get(&admin, "/api/v1/tokens/my%2Fapi/everywhere").await;
    assert_eq!(answer["tokens"].as_array().unwrap().len(), 32);
    let (found, total) = listed(&admin, "q=everywhere&limit=1000").await;
    assert_eq!((found.len(), total), (600, 600));
}

#[tokio::test]
async fn a_spot_is_not_taken_for_the_next_token_there() {
    let admin = admin();
    let wanted = Selection {
        api: None,
        statuses: Status::ALL.to_vec(),
        stuck: false,
    };
    let day = Duration::from_secs(24 * 3600);
    let tell_at = |token: &str, now: Timestamp| {
        let event = started("my/api", token, "a/1");
        let lines = [event.as_bytes()];
        let pipeline = &admin.parts.pipeline;
        pipeline.process(lines.into_iter(), Source::default(), now, |_| panic!());
    };
    let profile = |detector: &Detector| detector.profile_of("my/api");
    let now = clock::now();
    let mut found = Vec::new();
    tell_at("first", now);
    admin.parts.pipeline.inspect(|detector| {
        let step = detector.walk(profile(detector), 0, &wanted, now, &mut found);
        assert_eq!((step.of_status, step.next), (1, None));
        let summary = detector.summary_of(found[0].spot, &wanted, now).unwrap();
        assert!(summary.token.is("first"));
    });
    // The first has expired and left its slot.
    let later = now + day * 10;
    tell_at("second", later);
    tell_at("third", later);
    admin.parts.pipeline.inspect(|detector| {
        let spot = found[0].spot;
        assert!(detector.summary_of(spot, &wanted, later).is_none());
        let step = detector.walk(profile(detector), 0, &wanted, later, &mut found);
        assert_eq!(step.of_status, 2);
    });
}

#[tokio::test]
async fn a_token_in_full_brings_its_rules_and_findings() {
    let admin = admin();
    let api = "dynamodb.TransactWriteItems";
    tell(&admin, &[&started(api, "token-1", "a/1")]);
    report(&admin, finding(1));
    report(&admin, finding(2));
    let mut elsewhere = finding(3);
    (elsewhere.token, elsewhere.scope) = ("token-1".into(), "x".into());
    report(&admin, elsewhere);
    let (_, answer) = get(&admin, &format!("/api/v1/tokens/{api}/token-1")).await;
    let token = &answer["tokens"][0];
    assert_eq!(token["window_s"].as_f64(), Some(600.0));
    assert_eq!(token["window_anchor"], "first_completed");
    assert_eq!(token["lease_s"].as_f64(), Some(60.0));
    assert_eq!(token["stuck"], false);
    let findings = token["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["message"], "number 1");
}
