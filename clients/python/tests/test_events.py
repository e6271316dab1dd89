"""Every answer of the shared vectors, through a real boto3."""

from __future__ import annotations

import json
import os

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from peers import Step

import oncewatch

PATH = os.path.join(os.path.dirname(__file__), "..", "..", "conformance", "events.json")
with open(PATH, encoding="utf-8") as file:
    VECTORS = json.load(file)["vectors"]

FIELDS = {"outcome", "error", "http_status", "request_id", "read_units", "write_units"}


def test_no_vector_is_missing():
    assert len(VECTORS) == 46 and len({vector["name"] for vector in VECTORS}) == 46


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_an_answer_becomes_its_event(dynamo, transport, collector, vector):
    dynamo.script = [Step.of(vector["answer"])]
    config = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=1.0, connect_timeout=5)
    credentials = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "eu-west-1"}
    client = oncewatch.instrument(boto3.client("dynamodb", endpoint_url=dynamo.url, config=config, **credentials))
    expected = vector
    try:
        client.transact_write_items(
            TransactItems=[{"Put": {"TableName": "counters", "Item": {"id": {"S": "1"}}}}],
            ClientRequestToken="token",
            ReturnConsumedCapacity="TOTAL",
        )
        expected = vector.get("if_sdk_reports_success", vector)
    except (BotoCoreError, ClientError):
        assert vector["attempt_end"]["outcome"] != "ok"
    start, end, over = collector.wait(3)
    assert [event["type"] for event in (start, end, over)] == ["attempt_start", "attempt_end", "call_end"]
    compared = FIELDS - set(vector.get("sdk_specific", ()))
    for event, fields in ((end, expected["attempt_end"]), (over, expected["call_end"])):
        assert {name: event[name] for name in compared & event.keys()} == {
            name: fields[name] for name in compared & fields.keys()
        }
