// Currency codes as they stand in a column: bytes of UTF-8.

/** Bytes of a code in ISO 4217. */
export const SHORT_BYTES = 3;

/** Characters of an unknown currency that a reason quotes. */
const QUOTED_CHARS_MAX = 32;

const encoder = new TextEncoder();
// A U+FEFF at the beginning is part of the text: by default a decoder swallows it.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** How many bytes a text has. */
export function byteLength(text) {
  return encoder.encode(text).length;
}

/** What a code (a string or bytes) is found by: a number if it has three bytes, else its text. */
export function codeKey(code) {
  const bytes = typeof code === 'string' ? encoder.encode(code) : code;
  if (bytes.length === SHORT_BYTES) return bytes[0] | (bytes[1] << 8) | (bytes[2] << 16);
  return decoder.decode(bytes);
}

/** The beginning of a text. */
export function quote(bytes) {
  const chars = [...decoder.decode(bytes)];
  const quoted = chars.slice(0, QUOTED_CHARS_MAX).join('');
  return chars.length > QUOTED_CHARS_MAX ? `${quoted}…` : quoted;
}
