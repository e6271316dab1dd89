use super::*;

#[tokio::test]
async fn every_verdict_has_an_explanation() {
    let admin = admin();
    for verdict in Verdict::ALL {
        let (status, answer) = get(&admin, &format!("/api/v1/explain/{verdict}")).await;
        assert_eq!(
            (status, &answer["verdict"]),
            (200, &Value::from(verdict.as_str()))
        );
        for part in [
            "severity", "summary", "remedy", "retry", "what", "why", "confirm", "fix",
        ] {
            assert!(
                answer[part].as_str().is_some_and(|text| !text.is_empty()),
                "{verdict} {part}"
            );
        }
    }
    let (status, answer) = get(&admin, "/api/v1/explain/no_such").await;
    assert_eq!(status, 404);
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.starts_with("verdict: \"no_such\" is not one of first_use, "),
        "{error}"
    );
}

#[tokio::test]
async fn the_page_and_its_files_come_with_a_strict_policy() {
    let files = ["/", "/page/app.js", "/page/page.css", "/page/icon.svg"];
    let types = [
        "text/html; charset=utf-8",
        "text/javascript; charset=utf-8",
        "text/css; charset=utf-8",
        "image/svg+xml",
    ];
    for (path, content_type) in files.into_iter().zip(types) {
        let response = ask(&admin(), "GET", path).await;
        assert_eq!(
            (response.status(), header(&response, "content-type")),
            (StatusCode::OK, content_type)
        );
        let policy = header(&response, "content-security-policy");
        for part in [
            "default-src 'none'; ",
            "frame-ancestors 'none'",
            "trusted-types 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
        assert_eq!(
            header(&response, "cross-origin-resource-policy"),
            "same-origin"
        );
    }
    for missing in [
        "/page/",
        "/page/app",
        "/page/../admin.rs",
        "/page/index.html",
    ] {
        assert_eq!(
            ask(&admin(), "GET", missing).await.status(),
            404,
            "{missing}"
        );
    }
}
