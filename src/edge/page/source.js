// Where facts come from: questions to the API, and the stream of findings.

/** The sidecar did not answer, or refused with `status`. */
export class NoAnswer extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** An answer of the API. */
export async function ask(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== '' && value !== undefined);
  const query = new URLSearchParams(given).toString();
  let response;
  let answer;
  try {
    response = await fetch(`/api/v1/${path}${query && `?${query}`}`, { signal: AbortSignal.timeout(10_000) });
    answer = await response.json();
  } catch (error) {
    throw new NoAnswer(error.message);
  }
  if (!response.ok) throw new NoAnswer(answer.error, response.status);
  return answer;
}

const RETRY_MS = 5000;

/**
 * Listens to findings while the page is seen. A hidden page holds no connection: browsers allow six
 * to one address, so forgotten tabs would keep the one in use from loading.
 */
export class Live {
  constructor({ finding, state, resumed }) {
    Object.assign(this, { finding, state, resumed });
    document.addEventListener('visibilitychange', () => (document.hidden ? this.close() : this.open()));
    addEventListener('pagehide', () => this.close());
    addEventListener('pageshow', () => this.open());
    this.open();
  }

  open() {
    if (this.events || document.hidden) return;
    clearTimeout(this.timer);
    const events = new EventSource('/api/v1/stream');
    this.events = events;
    events.addEventListener('open', () => {
      this.state('live');
      this.resumed();
    });
    events.addEventListener('finding', (event) => this.finding(JSON.parse(event.data)));
    // It lost some: the list has them.
    events.addEventListener('lagged', () => this.resumed());
    events.addEventListener('error', () => {
      this.state('lost');
      // A refusal ends it; a broken connection is tried again by the browser itself.
      if (events.readyState !== EventSource.CLOSED) return;
      this.close();
      this.timer = setTimeout(() => this.open(), RETRY_MS);
    });
  }

  /** Whether findings arrive by themselves now. */
  get isOpen() {
    return this.events?.readyState === EventSource.OPEN;
  }

  close() {
    clearTimeout(this.timer);
    this.events?.close();
    this.events = undefined;
  }
}
