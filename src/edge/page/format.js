// Numbers, times and foreign text as people read them.

export const SEVERITIES = ['critical', 'error', 'warning', 'info'];

/**
 * Text from a client with everything that could hide or turn it written out: controls, the format
 * characters that reverse the direction of what follows, and spaces that cannot be seen as such.
 */
export function visible(text) {
  if (text === '') return '(empty)';
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|^\p{Zs}|\p{Zs}$|(?! )\p{Zs}/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

export const count = (n) => n.toLocaleString('en');

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** A length of time in seconds, with the precision that its size deserves. No line ends between a number and its unit. */
export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 0.9995) return `${Math.round(s * 1000)}\u00a0ms`;
  if (s < 9.95) return `${s.toFixed(1)}\u00a0s`;
  const whole = Math.round(s);
  if (whole < 60) return `${whole}\u00a0s`;
  const units = [['d', 86400, 'h', 3600], ['h', 3600, 'min', 60], ['min', 60, 's', 1]];
  const [big, size, small, part] = units.find(([, size]) => whole >= size);
  const rest = Math.floor((whole % size) / part);
  return `${Math.floor(whole / size)}\u00a0${big}${rest > 0 ? ` ${rest}\u00a0${small}` : ''}`;
}

/** A time of day in Unix seconds; with the date unless it is today. */
export function clock(at, millis = false) {
  const date = new Date(at * 1000);
  const two = (n) => String(n).padStart(2, '0');
  let text = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  if (millis) text += `.${String(date.getMilliseconds()).padStart(3, '0')}`;
  if (date.toDateString() === new Date().toDateString()) return text;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${text}`;
}

export const words = (name) => name.replaceAll('_', ' ');

/** A text that may be broken where a name has a sign, for lines that it does not fit in. */
export function broken(text) {
  return text.split(/(?<=[_./])/).flatMap((part, i) => (i === 0 ? [part] : [document.createElement('wbr'), part]));
}
