'use strict';

/**
 * Tells the oncewatch sidecar how this process uses idempotency tokens. It only observes: nothing here waits for the
 * sidecar or fails because of it.
 */

const { begin } = require('./src/attempt.cjs');
const { oncewatch } = require('./src/aws.cjs');
const { canonical, fingerprint } = require('./src/fingerprint.cjs');
const { transport } = require('./src/transport.cjs');

const flush = (timeoutMs) => transport.flush(timeoutMs);
const stats = () => transport.stats();

module.exports = { begin, canonical, fingerprint, flush, oncewatch, stats };
