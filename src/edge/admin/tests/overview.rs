use super::*;

#[tokio::test]
async fn the_summary_counts_verdicts_and_what_was_lost() {
    let admin = admin();
    let api = "dynamodb.TransactWriteItems";
    let (_, quiet) = get(&admin, "/api/v1/summary").await;
    assert_eq!(quiet["history"]["verdicts"], serde_json::json!({}));
    assert!(quiet["last_event"].is_null() && quiet["trace_url"].is_null());
    tell(
        &admin,
        &[
            &started(api, "t", "a/1"),
            &started(api, "t", "b/1").replace("c-t", "c2"),
        ],
    );
    tell(&admin, &[&started("x", "u", "a/1")]);
    let broken = [&b"{"[..]];
    admin
        .parts
        .pipeline
        .process(broken.into_iter(), Source::default(), clock::now(), drop);
    let (_, summary) = get(&admin, "/api/v1/summary").await;
    let verdict = |name: &str| {
        let verdicts = summary["verdicts"].as_array().unwrap();
        verdicts
            .iter()
            .find(|verdict| verdict["verdict"] == name)
            .unwrap()
    };
    let collision = verdict("cross_client_collision");
    assert_eq!(collision["severity"], "error");
    assert_eq!(
        (&collision["total"], &collision["recent"]),
        (&1.into(), &1.into())
    );
    assert_eq!(collision["apis"], serde_json::json!({ api: 1 }));
    assert_eq!(
        verdict("first_use")["apis"],
        serde_json::json!({ api: 1, "other": 1 })
    );
    assert_eq!(
        summary["severities"][2],
        serde_json::json!({"severity": "error", "total": 1, "recent": 1})
    );
    let history = summary["history"]["verdicts"]["first_use"]
        .as_array()
        .unwrap();
    assert_eq!(summary["history"]["steps"], history.len());
    assert_eq!(history.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 2);
    assert_eq!(summary["events"]["attempt_start"], 3);
    assert_eq!(summary["rejected"]["malformed"], 1);
    // The queue of this test's pipeline has nobody at its other end.
    assert_eq!(summary["dropped"]["findings_queue"], 1);
    for family in ["gaps", "removed", "refused"] {
        let counts = summary[family].as_object().unwrap();
        assert!(
            !counts.is_empty() && counts.values().all(|n| n == 0),
            "{family}"
        );
    }
    assert_eq!(summary["token_display"], "hash");
    let profiles = summary["profiles"].as_array().unwrap();
    let profile = profiles
        .iter()
        .find(|profile| profile["api"] == api)
        .unwrap();
    let until = profile["lower_bound_until"].as_f64().unwrap();
    assert!((until - summary["observation_start"].as_f64().unwrap() - 600.0).abs() < 0.01);
    assert_eq!(profile["tokens"]["in_flight"], 1);
    assert!(summary["oldest_open"].as_f64().unwrap() <= summary["now"].as_f64().unwrap());
}

#[tokio::test]
async fn the_status_names_profiles_and_counts() {
    let admin = admin();
    report(&admin, finding(1));
    let (status, answer) = get(&admin, "/api/v1/status").await;
    assert_eq!((status, &answer["version"]), (200, &Value::from("1.2.3")));
    assert!(answer["uptime_s"].as_f64().unwrap() < 60.0);
    assert!(answer["observation_start"].as_f64().unwrap() > 1.7e9);
    assert_eq!(
        answer["findings"],
        serde_json::json!({"kept": 1, "seen": 1})
    );
    let profiles = answer["profiles"].as_array().unwrap();
    let dynamodb = |p: &&Value| p["api"] == "dynamodb.TransactWriteItems";
    let dynamodb = profiles.iter().find(dynamodb).unwrap();
    assert_eq!(dynamodb["active"], true);
    assert_eq!(dynamodb["window_s"].as_f64(), Some(600.0));
    for status in Status::ALL {
        assert_eq!(dynamodb["tokens"][status.as_str()], 0);
    }
    assert_eq!(profiles.iter().filter(|p| p["active"] == true).count(), 1);
    let (status, answer) = get(&admin, "/api/v1/tokens?status=unknown&limit=5").await;
    assert_eq!((status, &answer["tokens"]), (200, &serde_json::json!([])));
}

#[tokio::test]
async fn findings_are_listed_newest_first_and_filtered() {
    let admin = admin();
    for id in 1..=150 {
        let mut finding = finding(id);
        if id % 2 == 0 {
            finding.verdict = Verdict::CrossClientCollision;
        }
        if id % 3 == 0 {
            finding.api = "stripe/v1 é".into();
        }
        report(&admin, finding);
    }
    admin.parts.findings.report(Report::Confirmed(150));
    let numbers = |answer: &Value| -> Vec<u64> {
        let findings = answer["findings"].as_array().unwrap();
        let message = |f: &Value| f["message"].as_str().unwrap()[7..].parse().unwrap();
        findings.iter().map(message).collect()
    };
    let (status, all) = get(&admin, "/api/v1/findings").await;
    assert_eq!(status, 200);
    assert_eq!(numbers(&all), (51..=150).rev().collect::<Vec<_>>());
    let newest = &all["findings"][0];
    assert_eq!(newest["confirmed"], true);
    assert_eq!(newest["token"], admin.parts.display.show("token-150"));
    assert!(!all.to_string().contains("token-1"));

    let target = "/api/v1/findings?severity=error&api=stripe%2Fv1+%C3%A9&limit=3";
    assert_eq!(numbers(&get(&admin, target).await.1), [150, 144, 138]);
    let target = "/api/v1/findings?verdict=orphaned&limit=2";
    assert_eq!(numbers(&get(&admin, target).await.1), [149, 147]);
    let target = "/api/v1/findings?severity=critical";
    assert!(numbers(&get(&admin, target).await.1).is_empty());
}
