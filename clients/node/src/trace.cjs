'use strict';

const API = Symbol.for('opentelemetry.js.api.1');
const SPAN = Symbol.for('OpenTelemetry Context Key SPAN');

/**
 * The W3C trace context of the current OpenTelemetry span, or undefined.
 *
 * The OpenTelemetry API keeps what the application registered under a global symbol, so that its own copies find each
 * other; it is read there, because this package depends on nothing.
 *
 * @returns {string | undefined}
 */
function traceparent() {
  const span = globalThis[API]?.context?.active().getValue(SPAN);
  const context = span?.spanContext();
  if (context === undefined || !/[1-9a-f]/.test(context.traceId) || !/[1-9a-f]/.test(context.spanId)) return undefined;
  return `00-${context.traceId}-${context.spanId}-${(context.traceFlags & 0xff).toString(16).padStart(2, '0')}`;
}

module.exports = { traceparent };
