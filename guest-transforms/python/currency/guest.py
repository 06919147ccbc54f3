"""Guest `currency` in Python: adds an amount in one base currency, so that amounts can be summed.

`base = round_half_even(round_half_even(amount, 2) × rate, 2)`, exactly, as the guest in Rust
(guest-transforms/currency) computes it: the same rows go through both in the host's tests.

The interpreter is what costs, so the loop over the rows makes no call for a row that is as most rows are.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.transform import Changes, Contract
from wit_world.imports.data import (
    Column,
    DataType_Decimal,
    DataType_Utf8,
    Description,
    Field,
    Rejection,
    Values_I64s,
)

from config import SCHEMA, ConfigError, read_config
from decimals import LARGEST, divide_half_even

# Digits after the point of the result.
CENTS_SCALE = 2

# Characters of an unknown currency that a reason quotes.
QUOTED_CHARS_MAX = 32


# What `configure` settled. Not in `Transform`, of which each call gets a new one.
stage = None


class Transform(exports.Transform):
    """What the component exports."""

    def describe(self):
        return Description(
            name="currency",
            version="0.1.0",
            about="Converts an amount into the base currency, at configured rates and in exact decimals (in Python)",
            config_schema=json.dumps(SCHEMA),
        )

    def configure(self, input, config):
        global stage
        try:
            stage = Stage(input, config)
            return stage.contract()
        except ConfigError as error:
            raise Err(str(error)) from None

    def apply(self, input):
        try:
            return stage.apply(input)
        except Exception as error:
            # Uncaught it would be a trap without a word: nothing that is printed leaves the component.
            raise Err(describe_fault(error)) from None


class Stage:
    """Columns and rates, ready for the rows."""

    def __init__(self, fields, text):
        self.columns, rates = read_config(text)
        amount = find(fields, self.columns.amount)
        currency = find(fields, self.columns.currency)
        if not isinstance(amount.ty, DataType_Decimal):
            raise wrong_type(amount, "a decimal")
        if not isinstance(currency.ty, DataType_Utf8):
            raise wrong_type(currency, "utf8")
        scale = amount.ty.value
        # An amount with more digits is rounded to cents before it is multiplied.
        self.cut = 10 ** max(scale - CENTS_SCALE, 0)
        cents_scale = min(scale, CENTS_SCALE)
        # By the bytes of its code: what cents are multiplied with, and what the product is divided by.
        self.rates = {}
        for code, rate in rates.items():
            digits = cents_scale + rate.scale - CENTS_SCALE
            factor = rate.unscaled * 10 ** max(-digits, 0)
            self.rates[code.encode()] = (factor, 10 ** max(digits, 0))

    def contract(self):
        """Two columns in, one out."""
        output = Field(self.columns.output, DataType_Decimal(CENTS_SCALE), nullable=False)
        needs = [self.columns.amount, self.columns.currency]
        return Contract(needs=needs, returns=[output], drops=[], selects=False)

    def apply(self, batch):
        """Converts each row, or says why it cannot be."""
        amounts, codes = batch.columns
        values = amounts.values.value
        text = codes.values.value
        data, offsets = text.bytes, text.offsets
        missing_values = amounts.validity is not None or codes.validity is not None
        rates, cut = self.rates, self.cut
        converted, rejections = [], []
        keep = converted.append

        for row in range(batch.rows):
            if missing_values and (column := self.missing(row, amounts, codes)):
                rejections.append(Rejection(row, f"`{column}` is missing"))
                continue
            code = data[offsets[row] : offsets[row + 1]]
            rate = rates.get(code)
            if rate is None:
                rejections.append(Rejection(row, self.unknown(code)))
                continue
            factor, divisor = rate
            cents = values[row]
            if cut != 1:
                cents = divide_half_even(cents, cut)
            # As `divide_half_even`, without the call.
            base, rest = divmod(cents * factor, divisor)
            rest *= 2
            if rest > divisor or (rest == divisor and base & 1):
                base += 1
            if -LARGEST <= base <= LARGEST:
                keep(base)
            else:
                rejections.append(Rejection(row, self.too_large(code)))

        return Changes(
            selection=None,
            columns=[Column(Values_I64s(converted), validity=None)],
            rejections=rejections,
        )

    def missing(self, row, amounts, codes):
        """The name of the column that has no value in this row, if there is one."""
        if amounts.validity is not None and not amounts.validity[row]:
            return self.columns.amount
        if codes.validity is not None and not codes.validity[row]:
            return self.columns.currency
        return None

    def unknown(self, code):
        text = code.decode()
        more = "…" if len(text) > QUOTED_CHARS_MAX else ""
        return f"there is no rate for `{self.columns.currency}` `{text[:QUOTED_CHARS_MAX]}{more}`"

    def too_large(self, code):
        amount, output = self.columns.amount, self.columns.output
        return f"`{output}` would have more than 18 digits: `{amount}` in `{code.decode()}`"


def describe_fault(error):
    """What an exception says, and where it comes from: `traceback` would look for the source in files."""
    place = error.__traceback__
    while place.tb_next is not None:
        place = place.tb_next
    code = place.tb_frame.f_code
    return f"{type(error).__name__}: {error} (line {place.tb_lineno}, in {code.co_qualname})"


def find(fields, name):
    """The column of this name."""
    for field in fields:
        if field.name == name:
            return field
    names = ", ".join(field.name for field in fields) or "no columns"
    raise ConfigError(f"there is no column `{name}`: the input has {names}")


def wrong_type(field, expected):
    found = type(field.ty).__name__.removeprefix("DataType_").lower()
    if isinstance(field.ty, DataType_Decimal):
        found = f"decimal({field.ty.value})"
    return ConfigError(f"column `{field.name}` has to be {expected}, but is {found}")
