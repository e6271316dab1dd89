// Every answer of the shared vectors, through the real SDK.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { DynamoDBClient, TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb';
import { CLIENT, collectorFor, DynamoStub, temporaryDirectory } from './peers.mjs';

const { vectors } = JSON.parse(fs.readFileSync(path.join(CLIENT, '../conformance/events.json'), 'utf8'));
const FIELDS = ['outcome', 'error', 'http_status', 'request_id', 'read_units', 'write_units'];

test('no vector is missing', () => assert.equal(vectors.length, 46));

test('event vectors', async (context) => {
  process.env.ONCEWATCH_SOCKET = path.join(temporaryDirectory(context), 'events.sock');
  const collector = await collectorFor(context, process.env.ONCEWATCH_SOCKET);
  const dynamo = await DynamoStub.start(context);
  const { oncewatch } = await import('../index.mjs');
  const client = new DynamoDBClient({
    endpoint: dynamo.url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'x', secretAccessKey: 'y' },
    maxAttempts: 1,
    requestHandler: { requestTimeout: 1500, throwOnRequestTimeout: true },
  });
  client.middlewareStack.use(oncewatch());
  const item = { Put: { TableName: 'counters', Item: { id: { S: '1' } } } };
  for (const vector of vectors) {
    await context.test(`event vector: ${vector.name}`, async () => {
      collector.forget();
      dynamo.script = [vector.answer];
      let expected = vector;
      try {
        await client.send(new TransactWriteItemsCommand({ TransactItems: [item], ClientRequestToken: 'token' }));
        expected = vector.if_sdk_reports_success ?? vector;
      } catch {
        assert.notEqual(vector.attempt_end.outcome, 'ok');
      }
      const events = await collector.wait(3);
      assert.deepEqual(events.map((event) => event.type), ['attempt_start', 'attempt_end', 'call_end']);
      const compared = FIELDS.filter((name) => !vector.sdk_specific?.includes(name));
      const only = (fields) => Object.fromEntries(compared.filter((name) => name in fields).map((name) => [name, fields[name]]));
      assert.deepEqual(only(events[1]), only(expected.attempt_end));
      assert.deepEqual(only(events[2]), only(expected.call_end));
    });
  }
});
