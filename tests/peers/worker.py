"""An application process of its own: one TransactWriteItems call, then its outcome as a JSON line.

argv[1] is a JSON object: endpoint, table, token, and optionally attempts, read_timeout_s, fork_after (a token: make a
call with it, fork, and make the call of the job in both processes).
"""

import json
import os
import sys
import time

import oncewatch
from botocore.exceptions import BotoCoreError, ClientError

from support.dynamo import add_items, boto3_client

# After a fork the parent calls first, so that it is known who holds the token.
CHILD_DELAY_S = 0.5


def call(client, job: dict) -> dict:
    try:
        client.transact_write_items(TransactItems=add_items(job["table"]), ClientRequestToken=job["token"])
        outcome = "ok"
    except ClientError as error:
        outcome = error.response["Error"]["Code"]
    except BotoCoreError as error:
        outcome = type(error).__name__
    return {"pid": os.getpid(), "outcome": outcome}


def main() -> None:
    job = json.loads(sys.argv[1])
    client = boto3_client(job["endpoint"], job.get("attempts", 1), job.get("read_timeout_s", 20.0))
    oncewatch.instrument(client)
    if "fork_after" in job:
        # Another client, because the SDK's own connections do not survive a fork; the sidecar's must.
        warm = boto3_client(job["endpoint"])
        oncewatch.instrument(warm)
        call(warm, {**job, "token": job["fork_after"]})
        child = os.fork()
        if not child:
            time.sleep(CHILD_DELAY_S)
    else:
        child = None
    print(json.dumps(call(client, job)), flush=True)
    if child:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
