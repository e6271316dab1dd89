/** What one attempt ended with, as far as the answer tells. */
export interface EndDetails {
  /** The server's error code, cut to 128 bytes. */
  error?: string;
  httpStatus?: number;
  /** The server's id of the request, cut to 128 bytes. */
  requestId?: string;
  /** Consumed capacity units. */
  readUnits?: number;
  writeUnits?: number;
  /** The retry limit including the first attempt, if it is known only now. */
  maxAttempts?: number;
}

export type Outcome = 'ok' | 'error' | 'no_response';

/** One request on the wire, begun. No method throws. */
export interface Attempt {
  /**
   * Report how the request ended; only the first end counts. The default is `ok`; `error` goes with a code or a status;
   * `no_response` (also taken for anything else) claims nothing about the outcome.
   */
  end(outcome?: Outcome, details?: EndDetails): void;
  /** Report that the call is over, with the outcome of this, its last attempt. */
  endCall(durationMs?: number): void;
}

export interface BeginOptions {
  /** The request's body as sent; it is hashed, never sent to the sidecar. */
  body?: string | Uint8Array;
  /** Your own hash of the parameters without the token instead, at most 64 bytes. */
  fp?: string;
  fpRaw?: string;
  /** The body's top-level field that holds the token, as in the sidecar's profile. */
  tokenField?: string;
  /** Top-level fields that do not count as parameters, as in the sidecar's profile. */
  ignoredFields?: readonly string[];
  /** Id of the call, at most 64 bytes; without it the attempt is a call of its own and ends it. */
  call?: string;
  /** Number of the attempt within its call, from 1. */
  attempt?: number;
  /** The retry limit including the first attempt. */
  maxAttempts?: number;
  /** The namespace that the token is unique in, at most 256 bytes. */
  scope?: string;
  /** Who made the token; `caller` by default. */
  tokenOrigin?: 'caller' | 'sdk';
  /** W3C trace context; by default that of the current OpenTelemetry span. */
  traceparent?: string;
}

export interface Fingerprint {
  /** Undefined for a body over 256 KiB, one that is not JSON, or one whose strings are not Unicode. */
  fp?: string;
  fpRaw: string;
  /** Undefined if the token field is no top-level string. */
  token?: string;
}

export interface Stats {
  connected: boolean;
  /** Events written, waiting and dropped by this thread. */
  sent: number;
  pending: number;
  dropped: number;
  /** Errors inside this package, kept from the application. */
  failures: number;
  lastFailure?: string;
}

export interface OncewatchOptions {
  /** The namespace of the tokens, at most 256 bytes; by default the Region that requests are signed for. */
  scope?: string;
}

/** Structurally a `Pluggable` of the AWS SDK, whose types this package does not depend on. */
export interface OncewatchPlugin {
  applyToStack(stack: any): void;
}

/** `client.middlewareStack.use(oncewatch())` reports the idempotency tokens of a DynamoDB client of the AWS SDK v3. */
export declare function oncewatch(options?: OncewatchOptions): OncewatchPlugin;

/** Report that a request with `token` is about to be sent; `api` names the sidecar's profile. Never throws. */
export declare function begin(api: string, token: string, options?: BeginOptions): Attempt;

/**
 * Wait at most `timeoutMs` (200, also for what is no finite number) until everything queued is written; true if it is.
 * The end of the process does it too.
 */
export declare function flush(timeoutMs?: number): Promise<boolean>;

/** Counts of this thread since it started. */
export declare function stats(): Stats;

/** The two fingerprints of a request body; never throws for any bytes. */
export declare function fingerprint(
  api: string,
  body: string | Uint8Array,
  tokenField?: string,
  ignoredFields?: readonly string[],
): Fingerprint;

/** What `fp` is a hash of, without the API's name; undefined for a body that has none. */
export declare function canonical(
  body: string | Uint8Array,
  tokenField?: string,
  ignoredFields?: readonly string[],
): string | undefined;
