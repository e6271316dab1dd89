//! The scenario driver: one JSON job a line from standard input, one result a line on standard output.

use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region, SharedHttpClient};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, ParameterizedStatement, ReturnConsumedCapacity,
    TransactWriteItem, Update,
};
use oncewatch_client::{Answer, Dynamodb, Options, Outcome, begin, flush_on_drop};
use serde_json::{Value, json};
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let _flush = flush_on_drop();
    print(
        &json!({"ready": true, "language": "rust", "sdk": format!("aws-sdk-dynamodb {}", aws_sdk_dynamodb::meta::PKG_VERSION)}),
    )?;
    let http = aws_smithy_http_client::Builder::new().build_http();
    let mut running = JoinSet::new();
    for line in io::stdin().lock().lines() {
        let job: Value = serde_json::from_str(&line?)?;
        let background = job["background"] == true;
        let work = run(job, http.clone());
        if background {
            running.spawn(async move { print(&work.await?) });
        } else {
            print(&work.await?)?;
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

fn print(line: &Value) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

async fn run(job: Value, http: SharedHttpClient) -> Result<Value, Failure> {
    let outcome = match job["op"].as_str() {
        Some("transact") => transact(&job, &client(&job, http)).await?,
        Some("execute") => execute(&job, &client(&job, http)).await?,
        Some("generic") => generic(&job)?,
        _ => return Err(format!("no op in {job}").into()),
    };
    Ok(json!({"id": job["id"], "outcome": outcome}))
}

fn client(job: &Value, http: SharedHttpClient) -> Client {
    let timeouts = job["read_timeout_ms"]
        .as_u64()
        .map(Duration::from_millis)
        .into_iter();
    let timeouts = timeouts.fold(TimeoutConfig::builder(), |builder, limit| {
        builder.read_timeout(limit)
    });
    let attempts = job["max_attempts"]
        .as_u64()
        .and_then(|max| max.try_into().ok())
        .unwrap_or(4);
    Client::from_conf(
        Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(job["endpoint"].as_str().unwrap_or_default())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "driver"))
            .http_client(http)
            .timeout_config(timeouts.build())
            .retry_config(RetryConfig::standard().with_max_attempts(attempts))
            .interceptor(Dynamodb::new())
            .build(),
    )
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// `None` for a field that is absent or null.
fn field<'a>(job: &'a Value, name: &str) -> Option<&'a str> {
    job[name].as_str()
}

fn capacity(job: &Value) -> Option<ReturnConsumedCapacity> {
    (job["return_consumed"] == true).then_some(ReturnConsumedCapacity::Total)
}

async fn transact(job: &Value, client: &Client) -> Result<String, Failure> {
    let table = field(job, "table").unwrap_or_default();
    let update = Update::builder()
        .table_name(table)
        .key("id", text("counter"))
        .update_expression("ADD n :amount")
        .expression_attribute_values(
            ":amount",
            AttributeValue::N(job["amount"].as_i64().unwrap_or(1).to_string()),
        )
        .build()?;
    let mut call = client
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().update(update).build());
    if let Some(needs) = field(job, "needs") {
        let check = ConditionCheck::builder()
            .table_name(table)
            .key("id", text(needs))
            .condition_expression("attribute_exists(id)");
        call = call.transact_items(
            TransactWriteItem::builder()
                .condition_check(check.build()?)
                .build(),
        );
    }
    let call = call.set_client_request_token(field(job, "token").map(str::to_owned));
    Ok(outcome(
        call.set_return_consumed_capacity(capacity(job))
            .send()
            .await,
    ))
}

async fn execute(job: &Value, client: &Client) -> Result<String, Failure> {
    let (table, identity) = (
        field(job, "table").unwrap_or_default(),
        field(job, "identity").unwrap_or_default(),
    );
    let statement = format!("INSERT INTO \"{table}\" VALUE {{'id': '{identity}'}}");
    let call = client.execute_transaction().transact_statements(
        ParameterizedStatement::builder()
            .statement(statement)
            .build()?,
    );
    let call = call.set_client_request_token(field(job, "token").map(str::to_owned));
    Ok(outcome(
        call.set_return_consumed_capacity(capacity(job))
            .send()
            .await,
    ))
}

fn outcome<O, E: ProvideErrorMetadata, R>(result: Result<O, SdkError<E, R>>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code().unwrap_or("no_response").to_owned(),
    }
}

fn generic(job: &Value) -> Result<String, Failure> {
    let number = |name: &str| job[name].as_u64();
    let options = Options {
        body: field(job, "body").map(str::as_bytes),
        token_field: field(job, "token_field"),
        call: field(job, "call"),
        attempt: number("attempt").unwrap_or(1).try_into()?,
        max_attempts: number("max_attempts").map(TryInto::try_into).transpose()?,
        ..Options::default()
    };
    let name = field(job, "outcome").unwrap_or("ok");
    let outcome = match name {
        "ok" => Outcome::Ok,
        "error" => Outcome::Error,
        _ => Outcome::NoResponse,
    };
    let answer = Answer {
        error: field(job, "error"),
        http_status: number("http_status").map(TryInto::try_into).transpose()?,
        ..Answer::default()
    };
    let mut attempt = begin(
        field(job, "api").unwrap_or_default(),
        field(job, "token").unwrap_or_default(),
        options,
    );
    attempt.end(outcome, answer);
    if job["end_call"].as_bool() == Some(true) {
        attempt.end_call();
    }
    Ok(answer.error.unwrap_or(name).to_owned())
}
