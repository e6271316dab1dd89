import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import oncewatch = require('oncewatch');

new DynamoDBClient({}).middlewareStack.use(oncewatch.oncewatch());
const over: void = oncewatch.begin('http', 'key').end('ok', { httpStatus: 200 });
console.log(over);
