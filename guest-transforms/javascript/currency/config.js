// The stage's `config`, and the rates in it.

import { parseDecimal, showDecimal } from './decimal.js';
import { byteLength } from './text.js';

/** Bytes that a currency code has at most; ISO 4217 has three. */
const CODE_BYTES_MAX = 7;

const COLUMN = { type: ['string', 'null'] };

/** What people are shown, and what the keys are checked against. */
export const SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Config',
  description: 'What to convert, and how.',
  type: 'object',
  additionalProperties: false,
  required: ['base', 'rates'],
  properties: {
    base: {
      description: 'The currency that amounts are converted into. Its own rate is 1.',
      type: 'string',
      minLength: 1,
      maxLength: CODE_BYTES_MAX,
    },
    rates: {
      description:
        'For each other currency: how much one unit of it is worth in the base. Greater than 0, at most 18 digits.',
      type: 'object',
      additionalProperties: {
        description:
          'A decimal number of at most 18 digits. Best as a string, which is exact everywhere.',
        type: ['string', 'number'],
      },
    },
    amount: {
      ...COLUMN,
      description: 'The decimal column that is converted. Default: `total_amount`.',
    },
    currency: {
      ...COLUMN,
      description: "The utf8 column with the amount's currency. Default: `currency`.",
    },
    output: {
      ...COLUMN,
      description:
        'The decimal(2) column that is added. Default: the name of the amount and `_base`.',
    },
  },
};

/** A number as it was written: one that goes through a double is no longer the rate that was meant. */
class Digits {
  constructor(text) {
    this.text = text;
  }

  toJSON() {
    return Number(this.text);
  }
}

/**
 * The names of the columns, and the rate of every currency by its code, that of the base (1) included.
 * Throws, as a string, which key is wrong, what was expected and what was found.
 */
export function readConfig(json) {
  const config = JSON.parse(json, (_key, value, { source }) =>
    typeof value === 'number' ? new Digits(source) : value,
  );
  checkShape(config);
  const { base, rates: given } = config;
  check('`base`', checkCode(base));

  const rates = new Map();
  for (const code of Object.keys(given).sort()) {
    const place = `\`rates\`: \`${code}\``;
    check(place, checkCode(code));
    rates.set(code, readRate(place, given[code]));
  }
  const own = rates.get(base);
  if (own !== undefined && (own.unscaled !== 1n || own.scale !== 0)) {
    throw `\`rates\`: \`${base}\` is the base, so its rate is 1, not ${showDecimal(own)}`;
  }
  rates.set(base, { unscaled: 1n, scale: 0 });

  const amount = config.amount ?? 'total_amount';
  const columns = {
    amount,
    currency: config.currency ?? 'currency',
    output: config.output ?? `${amount}_base`,
  };
  return { columns, rates };
}

/** That its keys are those of the schema, and their values of its types. */
function checkShape(config) {
  const wrong = (problem) => `the config is wrong: ${problem}`;
  if (!isTable(config)) throw wrong('it has to be a table');
  for (const key of Object.keys(config)) {
    if (!Object.hasOwn(SCHEMA.properties, key)) {
      const known = Object.keys(SCHEMA.properties).map((name) => `\`${name}\``);
      throw wrong(`unknown field \`${key}\`, expected one of ${known.join(', ')}`);
    }
  }
  for (const key of SCHEMA.required) {
    if (!Object.hasOwn(config, key)) throw wrong(`missing field \`${key}\``);
  }
  if (!isTable(config.rates)) throw wrong('`rates` has to be a table');
  if (typeof config.base !== 'string') throw wrong('`base` has to be a string');
  for (const key of ['amount', 'currency', 'output']) {
    const value = config[key] ?? '';
    if (typeof value !== 'string') throw wrong(`\`${key}\` has to be a string`);
  }
}

function isTable(value) {
  const isObject = typeof value === 'object' && value !== null;
  return isObject && !Array.isArray(value) && !(value instanceof Digits);
}

function check(place, problem) {
  if (problem !== undefined) throw `${place}: ${problem}`;
}

function checkCode(code) {
  const length = byteLength(code);
  if (length >= 1 && length <= CODE_BYTES_MAX) return undefined;
  return `a currency code has 1 to ${CODE_BYTES_MAX} bytes, not ${length}`;
}

function readRate(place, value) {
  if (typeof value !== 'string' && !(value instanceof Digits)) {
    throw `${place}: a rate is a string or a number, not ${JSON.stringify(value)}`;
  }
  const text = typeof value === 'string' ? value : value.text;
  const rate = parseDecimal(text);
  if (rate === 'too long') throw `${place}: a rate has at most 18 digits: \`${text}\``;
  if (rate === 'malformed' || text.startsWith('-')) {
    throw `${place}: \`${text}\` is no decimal number`;
  }
  if (rate.unscaled === 0n) throw `${place}: a rate is greater than 0`;
  return rate;
}
