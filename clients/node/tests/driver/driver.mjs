// Runs jobs of the scenario script that every language's client goes through (tests/peers/test_languages.py): one JSON
// job per line on standard input, one JSON result per line on standard output, in order of finishing.

import { createRequire } from 'node:module';
import readline from 'node:readline';
import { DynamoDBClient, ExecuteTransactionCommand, TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb';
import { begin, oncewatch } from '../../index.mjs';

const clients = new Map();

function clientFor({ endpoint, max_attempts: maxAttempts = 4, read_timeout_ms: requestTimeout = 10_000 }) {
  const key = JSON.stringify([endpoint, maxAttempts, requestTimeout]);
  if (!clients.has(key)) {
    const client = new DynamoDBClient({
      endpoint,
      region: 'eu-west-1',
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      retryMode: 'standard',
      maxAttempts,
      // Without the last one the SDK would only warn and go on waiting.
      requestHandler: { connectionTimeout: 5000, requestTimeout, throwOnRequestTimeout: true },
    });
    client.middlewareStack.use(oncewatch());
    clients.set(key, client);
  }
  return clients.get(key);
}

function commandFor(job) {
  const token = job.token == null ? {} : { ClientRequestToken: job.token };
  if (job.op === 'execute') {
    const statement = `INSERT INTO "${job.table}" VALUE {'id': '${job.identity}'}`;
    return new ExecuteTransactionCommand({ TransactStatements: [{ Statement: statement }], ...token });
  }
  const update = {
    TableName: job.table,
    Key: { id: { S: 'counter' } },
    UpdateExpression: 'ADD n :amount',
    ExpressionAttributeValues: { ':amount': { N: String(job.amount ?? 1) } },
  };
  const items = [{ Update: update }];
  if (job.needs) {
    const check = { TableName: job.table, Key: { id: { S: job.needs } } };
    items.push({ ConditionCheck: { ...check, ConditionExpression: 'attribute_exists(id)' } });
  }
  const capacity = job.return_consumed ? { ReturnConsumedCapacity: 'TOTAL' } : {};
  return new TransactWriteItemsCommand({ TransactItems: items, ...capacity, ...token });
}

function generic(job) {
  const attempt = begin(job.api, job.token, {
    body: job.body,
    tokenField: job.token_field ?? undefined,
    call: job.call ?? undefined,
    attempt: job.attempt ?? 1,
    maxAttempts: job.max_attempts ?? undefined,
  });
  const outcome = job.outcome ?? 'ok';
  attempt.end(outcome, { error: job.error ?? undefined, httpStatus: job.http_status ?? undefined });
  if (job.end_call) attempt.endCall();
  return job.error ?? outcome;
}

async function outcomeOf(job) {
  if (job.op === 'generic') return generic(job);
  try {
    await clientFor(job).send(commandFor(job));
    return 'ok';
  } catch (error) {
    return error.$fault === undefined ? 'no_response' : error.name;
  }
}

function tell(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function run(job) {
  tell({ id: job.id, outcome: await outcomeOf(job) });
}

const { version } = createRequire(import.meta.url)('@aws-sdk/client-dynamodb/package.json');
tell({ ready: true, language: 'node', sdk: `@aws-sdk/client-dynamodb ${version}, Node.js ${process.version}` });
const running = [];
for await (const line of readline.createInterface({ input: process.stdin })) {
  const done = run(JSON.parse(line));
  if (JSON.parse(line).background) running.push(done);
  else await done;
}
await Promise.all(running);
for (const client of clients.values()) client.destroy();
