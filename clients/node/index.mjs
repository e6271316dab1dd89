// The same module instance for both kinds of import: a process has one connection and one buffer.
import client from './index.cjs';

export const { begin, canonical, fingerprint, flush, oncewatch, stats } = client;
