"""The stage's `config`, and the rates in it."""

import json
from typing import NamedTuple

from decimals import DIGITS_MAX, Decimal, Malformed, TooLong, parse_decimal

# Bytes that a currency code has at most; ISO 4217 has three.
CODE_BYTES_MAX = 7

ONE = Decimal(1, 0)

# What people are shown, and what the keys are checked against.
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Config",
    "description": "What to convert, and how.",
    "type": "object",
    "additionalProperties": False,
    "required": ["base", "rates"],
    "properties": {
        "base": {
            "description": "The currency that amounts are converted into. Its own rate is 1.",
            "type": "string",
            "minLength": 1,
            "maxLength": CODE_BYTES_MAX,
        },
        "rates": {
            "description": "For each other currency: how much one unit of it is worth in the base. Greater than 0, at most 18 digits.",
            "type": "object",
            "additionalProperties": {
                "description": "A decimal number of at most 18 digits. Best as a string, which is exact everywhere.",
                "type": ["string", "number"],
            },
        },
        "amount": {
            "description": "The decimal column that is converted. Default: `total_amount`.",
            "type": ["string", "null"],
        },
        "currency": {
            "description": "The utf8 column with the amount's currency. Default: `currency`.",
            "type": ["string", "null"],
        },
        "output": {
            "description": "The decimal(2) column that is added. Default: the name of the amount and `_base`.",
            "type": ["string", "null"],
        },
    },
}


class ConfigError(Exception):
    """Which key is wrong, what was expected and what was found."""


class Columns(NamedTuple):
    """The names of the columns."""

    amount: str
    currency: str
    output: str


class Digits(str):
    """A number as it was written: one that goes through a float is no longer the rate that was meant."""


def read_config(text):
    """The columns, and the rate of every currency by its code, that of the base (1) included."""
    config = json.loads(text, parse_float=Digits, parse_int=Digits)
    check_shape(config)
    base = config["base"]
    check_code("`base`", base)

    rates = {}
    for code, value in sorted(config["rates"].items()):
        place = f"`rates`: `{code}`"
        check_code(place, code)
        rates[code] = read_rate(place, value)
    if rates.setdefault(base, ONE) != ONE:
        raise ConfigError(f"`rates`: `{base}` is the base, so its rate is 1, not {rates[base]}")

    amount = default(config, "amount", "total_amount")
    columns = Columns(
        amount=amount,
        currency=default(config, "currency", "currency"),
        output=default(config, "output", f"{amount}_base"),
    )
    return columns, rates


def check_shape(config):
    """That its keys are those of the schema, and their values of its types."""

    def wrong(problem):
        return ConfigError(f"the config is wrong: {problem}")

    if not isinstance(config, dict):
        raise wrong("it has to be a table")
    known = SCHEMA["properties"]
    for key in config:
        if key not in known:
            names = ", ".join(f"`{name}`" for name in known)
            raise wrong(f"unknown field `{key}`, expected one of {names}")
    for key in SCHEMA["required"]:
        if key not in config:
            raise wrong(f"missing field `{key}`")
    if not isinstance(config["rates"], dict):
        raise wrong("`rates` has to be a table")
    for key in ("base", "amount", "currency", "output"):
        value = default(config, key, "") if key != "base" else config[key]
        if not isinstance(value, str) or isinstance(value, Digits):
            raise wrong(f"`{key}` has to be a string")


def default(config, key, value):
    """What the config says of it; `value` when that is nothing."""
    found = config.get(key)
    return value if found is None else found


def check_code(place, code):
    length = len(code.encode())
    if not 1 <= length <= CODE_BYTES_MAX:
        raise ConfigError(f"{place}: a currency code has 1 to {CODE_BYTES_MAX} bytes, not {length}")


def read_rate(place, value):
    if not isinstance(value, str):
        raise ConfigError(f"{place}: a rate is a string or a number, not {json.dumps(value)}")
    try:
        rate = parse_decimal(value)
    except TooLong:
        raise ConfigError(f"{place}: a rate has at most {DIGITS_MAX} digits: `{value}`") from None
    except Malformed:
        raise ConfigError(f"{place}: `{value}` is no decimal number") from None
    if value.startswith("-"):
        raise ConfigError(f"{place}: `{value}` is no decimal number")
    if rate.unscaled == 0:
        raise ConfigError(f"{place}: a rate is greater than 0")
    return rate
