"""Runs jobs of the scenario script that every language's client goes through (tests/peers/test_languages.py).

One JSON job per line on standard input, one JSON result per line on standard output, in order of finishing.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import oncewatch

_printing = threading.Lock()


def tell(line: dict[str, Any]) -> None:
    with _printing:
        print(json.dumps(line), flush=True)


@functools.lru_cache(maxsize=None)
def client_for(endpoint: str, max_attempts: int, read_timeout_ms: int) -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": max_attempts},
        read_timeout=read_timeout_ms / 1000,
        connect_timeout=5,
    )
    return oncewatch.instrument(
        boto3.client(
            "dynamodb",
            endpoint_url=endpoint,
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=config,
        )
    )


def transact(client: Any, job: dict[str, Any]) -> None:
    table = job["table"]
    update = {
        "TableName": table,
        "Key": {"id": {"S": "counter"}},
        "UpdateExpression": "ADD n :amount",
        "ExpressionAttributeValues": {":amount": {"N": str(job.get("amount", 1))}},
    }
    items = [{"Update": update}]
    if job.get("needs"):
        check = {"TableName": table, "Key": {"id": {"S": job["needs"]}}}
        items.append({"ConditionCheck": {**check, "ConditionExpression": "attribute_exists(id)"}})
    request: dict[str, Any] = {"TransactItems": items}
    if job.get("return_consumed"):
        request["ReturnConsumedCapacity"] = "TOTAL"
    if job.get("token") is not None:
        request["ClientRequestToken"] = job["token"]
    client.transact_write_items(**request)


def execute(client: Any, job: dict[str, Any]) -> None:
    statement = f"INSERT INTO \"{job['table']}\" VALUE {{'id': '{job['identity']}'}}"
    token = {} if job.get("token") is None else {"ClientRequestToken": job["token"]}
    client.execute_transaction(TransactStatements=[{"Statement": statement}], **token)


def generic(job: dict[str, Any]) -> str:
    attempt = oncewatch.begin(
        job["api"],
        job["token"],
        body=job.get("body"),
        token_field=job.get("token_field"),
        call=job.get("call"),
        attempt=job.get("attempt", 1),
        max_attempts=job.get("max_attempts"),
    )
    outcome = job.get("outcome", "ok")
    attempt.end(outcome, error=job.get("error"), http_status=job.get("http_status"))
    if job.get("end_call"):
        attempt.end_call()
    return str(job.get("error") or outcome)


def outcome_of(job: dict[str, Any]) -> str:
    if job["op"] == "generic":
        return generic(job)
    client = client_for(job["endpoint"], job.get("max_attempts", 4), job.get("read_timeout_ms", 10000))
    try:
        {"transact": transact, "execute": execute}[job["op"]](client, job)
        return "ok"
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except BotoCoreError:
        return "no_response"


def run(job: dict[str, Any]) -> None:
    tell({"id": job["id"], "outcome": outcome_of(job)})


def main() -> None:
    tell({"ready": True, "language": "python", "sdk": f"boto3 {boto3.__version__}"})
    running = []
    for line in sys.stdin:
        job = json.loads(line)
        if job.get("background"):
            running.append(threading.Thread(target=run, args=(job,)))
            running[-1].start()
        else:
            run(job)
    for thread in running:
        thread.join()


if __name__ == "__main__":
    main()
