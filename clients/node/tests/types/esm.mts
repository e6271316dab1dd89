import { DynamoDB, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import { begin, canonical, fingerprint, flush, oncewatch, stats, type Attempt, type Stats } from 'oncewatch';

const client = new DynamoDBClient({});
client.middlewareStack.use(oncewatch());
client.middlewareStack.use(oncewatch({ scope: '123456789012/eu-west-1' }));
new DynamoDB({}).middlewareStack.use(oncewatch());
DynamoDBDocumentClient.from(client).middlewareStack.use(oncewatch());

const attempt: Attempt = begin('stripe', 'key', { body: '{}', call: 'c', attempt: 2, tokenOrigin: 'sdk' });
attempt.end('error', { error: 'idempotency_error', httpStatus: 400 });
attempt.end();
attempt.endCall();
const written: Promise<boolean> = flush(50);
const counts: Stats = stats();
const fp: string | undefined = fingerprint('stripe', new Uint8Array(), 'key', ['trace']).fp;
const text: string | undefined = canonical('{}');
console.log(written, counts.dropped, fp, text);

// @ts-expect-error an outcome is one of three
attempt.end('maybe');
// @ts-expect-error a token is a string
begin('stripe', 5);
// @ts-expect-error no such option
oncewatch({ region: 'eu-west-1' });
