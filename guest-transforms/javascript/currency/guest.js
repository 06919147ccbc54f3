// Guest `currency` in JavaScript: adds an amount in one base currency, so that amounts can be summed.
//
// `base = round_half_even(round_half_even(amount, 2) × rate, 2)`, exactly, as the guest in Rust
// (guest-transforms/currency) computes it: the same rows go through both in the host's tests.
//
// The engine inside the component interprets, so the loop over the rows does little: it touches typed
// arrays and doubles only, and makes no object and no BigInt for a row that is as most rows are.

import { readConfig, SCHEMA } from './config.js';
import { divideHalfEven, EXACT, multiply } from './decimal.js';
import { codeKey, quote, SHORT_BYTES } from './text.js';

/** Digits after the point of the result. */
const CENTS_SCALE = 2;

const WORD = 2 ** 32;

/** What `configure` settled. */
let stage;

export const transform = {
  describe() {
    return {
      name: 'currency',
      version: '0.1.0',
      about:
        'Converts an amount into the base currency, at configured rates and in exact decimals (in JavaScript)',
      configSchema: JSON.stringify(SCHEMA),
    };
  },

  configure(input, json) {
    return inWords(() => {
      const { columns, rates } = readConfig(json);
      const amount = find(input, columns.amount);
      const currency = find(input, columns.currency);
      if (amount.ty.tag !== 'decimal') throw wrongType(amount, 'a decimal');
      if (currency.ty.tag !== 'utf8') throw wrongType(currency, 'utf8');
      stage = new Stage(columns, rates, amount.ty.val);
      return {
        needs: [columns.amount, columns.currency],
        returns: [
          { name: columns.output, ty: { tag: 'decimal', val: CENTS_SCALE }, nullable: false },
        ],
        drops: [],
        selects: false,
      };
    });
  },

  apply(batch) {
    return inWords(() => stage.apply(batch));
  },
};

/** The error of a call is a string. An Error that nobody caught would be a trap that does not say what it is. */
function inWords(call) {
  try {
    return call();
  } catch (error) {
    throw error instanceof Error ? `${error} at ${error.stack.split('\n')[0]}` : error;
  }
}

class Stage {
  constructor(columns, rates, scale) {
    this.columns = columns;
    // An amount with more digits is rounded to cents before it is multiplied.
    this.cut = 10n ** BigInt(Math.max(scale - CENTS_SCALE, 0));
    const centsScale = Math.min(scale, CENTS_SCALE);
    // Codes of three bytes, as in ISO 4217, by these bytes in one number; the others by their text.
    this.short = new Map();
    this.long = new Map();
    for (const [code, rate] of rates) {
      const entry = new Rate(rate, centsScale);
      const key = codeKey(code);
      (typeof key === 'number' ? this.short : this.long).set(key, entry);
    }
  }

  apply({ rows, columns: [amounts, codes] }) {
    const { short, long } = this;
    const cut = Number(this.cut);
    const amountThere = amounts.validity;
    const codeThere = codes.validity;
    const { offsets, bytes } = codes.values.val;
    // A BigInt for each value would be an allocation for each value: the halves are numbers.
    const values = amounts.values.val;
    const halves = new Int32Array(values.buffer, values.byteOffset, rows * 2);
    const converted = new BigInt64Array(rows);
    const convertedHalves = new Int32Array(converted.buffer);
    const rejections = [];
    let kept = 0;

    for (let row = 0; row < rows; row++) {
      if (amountThere !== undefined && amountThere[row] === 0) {
        rejections.push({ row, reason: missing(this.columns.amount) });
        continue;
      }
      if (codeThere !== undefined && codeThere[row] === 0) {
        rejections.push({ row, reason: missing(this.columns.currency) });
        continue;
      }
      const start = offsets[row];
      const end = offsets[row + 1];
      const rate =
        end - start === SHORT_BYTES
          ? short.get(bytes[start] | (bytes[start + 1] << 8) | (bytes[start + 2] << 16))
          : long.get(codeKey(bytes.subarray(start, end)));
      if (rate === undefined) {
        rejections.push({ row, reason: this.unknown(bytes.subarray(start, end)) });
        continue;
      }

      // Almost all of them: so small that doubles are exact.
      const amount = halves[2 * row + 1] * WORD + (halves[2 * row] >>> 0);
      if (amount < EXACT && amount > -EXACT && cut < EXACT) {
        const cents = cut === 1 ? amount : divideHalfEven(amount, cut);
        const product = cents * rate.factor;
        if (product < EXACT && product > -EXACT) {
          const base = divideHalfEven(product, rate.divisor);
          convertedHalves[2 * kept] = base;
          convertedHalves[2 * kept + 1] = Math.floor(base / WORD);
          kept++;
          continue;
        }
      }

      const base = multiply(values[row], this.cut, rate.exactFactor, rate.exactDivisor);
      if (base === undefined) {
        rejections.push({ row, reason: this.tooLarge(bytes.subarray(start, end)) });
        continue;
      }
      converted[kept++] = base;
    }

    const base = kept === rows ? converted : converted.slice(0, kept);
    return {
      selection: undefined,
      columns: [{ values: { tag: 'i64s', val: base }, validity: undefined }],
      rejections,
    };
  }

  unknown(code) {
    return `there is no rate for \`${this.columns.currency}\` \`${quote(code)}\``;
  }

  tooLarge(code) {
    const { amount, output } = this.columns;
    return `\`${output}\` would have more than 18 digits: \`${amount}\` in \`${quote(code)}\``;
  }
}

/** What cents are multiplied with, and what the product is divided by. */
class Rate {
  constructor({ unscaled, scale }, centsScale) {
    const digits = centsScale + scale - CENTS_SCALE;
    this.exactFactor = unscaled * 10n ** BigInt(Math.max(-digits, 0));
    this.exactDivisor = 10n ** BigInt(Math.max(digits, 0));
    const isExact = this.exactFactor < EXACT && this.exactDivisor < EXACT;
    // No product with this is small enough: all go the exact way.
    this.factor = isExact ? Number(this.exactFactor) : Infinity;
    this.divisor = Number(this.exactDivisor);
  }
}

function missing(column) {
  return `\`${column}\` is missing`;
}

function find(input, name) {
  const field = input.find((field) => field.name === name);
  if (field !== undefined) return field;
  const names = input.map((field) => field.name).join(', ') || 'no columns';
  throw `there is no column \`${name}\`: the input has ${names}`;
}

function wrongType({ name, ty }, expected) {
  const found = ty.tag === 'decimal' ? `decimal(${ty.val})` : ty.tag;
  return `column \`${name}\` has to be ${expected}, but is ${found}`;
}
