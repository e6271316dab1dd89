'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

/**
 * `ONCEWATCH_SOCKET`, else the first default of the sidecar that exists; undefined if none does.
 *
 * @returns {string | undefined}
 */
function socketPath() {
  const configured = process.env.ONCEWATCH_SOCKET;
  if (configured) return configured;
  const candidates = ['/run/oncewatch/events.sock'];
  const runtimeDir = process.env.XDG_RUNTIME_DIR;
  if (runtimeDir) candidates.push(path.join(runtimeDir, 'oncewatch', 'events.sock'));
  return candidates.find((candidate) => fs.existsSync(candidate)) ?? privateTemporaryPath();
}

/** Anybody can create a directory in the temporary one: only this user's own may receive tokens. */
function privateTemporaryPath() {
  // Windows has neither user ids nor the sidecar.
  if (process.getuid === undefined) return undefined;
  const directory = path.join(os.tmpdir(), `oncewatch-${process.getuid()}`);
  const status = fs.lstatSync(directory, { throwIfNoEntry: false });
  const isPrivate = status?.isDirectory() && status.uid === process.getuid() && (status.mode & 0o022) === 0;
  return isPrivate ? path.join(directory, 'events.sock') : undefined;
}

module.exports = { socketPath };
