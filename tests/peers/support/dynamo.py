"""The real emulator (dynoxide), boto3 clients, and a counter whose value tells how often something was executed."""

import urllib.error
import urllib.request
import uuid
from pathlib import Path

import boto3
from botocore.client import BaseClient
from botocore.config import Config

from .process import Service, free_port

COUNTER_KEY = "counter"


def boto3_client(endpoint: str, attempts: int = 4, read_timeout_s: float = 10.0) -> BaseClient:
    """A DynamoDB client in the SDK's default retry mode, with `attempts` tries at most."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        read_timeout=read_timeout_s,
        connect_timeout=5,
    )
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    )


def add_items(table: str = "counters", amount: int = 1, needs: str | None = None) -> list[dict]:
    """TransactItems that add `amount` to the counter of `table`, on the condition that the item `needs` exists."""
    update = {
        "TableName": table,
        "Key": {"id": {"S": COUNTER_KEY}},
        "UpdateExpression": "ADD n :amount",
        "ExpressionAttributeValues": {":amount": {"N": str(amount)}},
    }
    items = [{"Update": update}]
    if needs:
        check = {"TableName": table, "Key": {"id": {"S": needs}}, "ConditionExpression": "attribute_exists(id)"}
        items.append({"ConditionCheck": check})
    return items


class Dynoxide:
    """One emulator process; with `database` its tables (not its tokens) outlive it."""

    def __init__(self, binary: str, directory: Path, database: Path | None = None):
        self._command = [binary, "serve", "--host", "127.0.0.1"]
        if database:
            self._command += ["--db-path", str(database)]
        self._log = directory / "dynoxide.log"
        self.start()

    def start(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.service = Service("dynoxide", [*self._command, "--port", str(self.port)], self._log)
        self.service.wait_ready(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=1).close()
        except urllib.error.HTTPError:
            return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def stop(self) -> None:
        self.service.stop()


class Counter:
    """A table with one counter. `value` is read past every proxy and every instrumented client."""

    def __init__(self, dynoxide: Dynoxide, table: str | None = None):
        self.table = table or f"counters-{uuid.uuid4().hex[:8]}"
        self._dynoxide = dynoxide
        if table is None:
            self._direct().create_table(
                TableName=self.table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            )

    def _direct(self) -> BaseClient:
        return boto3_client(self._dynoxide.url)

    @property
    def value(self) -> int:
        item = self._direct().get_item(TableName=self.table, Key={"id": {"S": COUNTER_KEY}}, ConsistentRead=True)
        return int(item.get("Item", {}).get("n", {"N": "0"})["N"])

    def put(self, identity: str) -> None:
        """Writes an item past the instrumented client, for conditions to look at."""
        self._direct().put_item(TableName=self.table, Item={"id": {"S": identity}})

    def add(self, amount: int = 1, needs: str | None = None) -> list[dict]:
        """`add_items` on this counter's table."""
        return add_items(self.table, amount, needs)

    def statements(self, identity: str) -> list[dict]:
        """PartiQL TransactStatements that insert one item: a second execution of them is cancelled."""
        return [{"Statement": f"INSERT INTO \"{self.table}\" VALUE {{'id': '{identity}'}}"}]
