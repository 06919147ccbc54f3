"""Guest `hostile` in Python: misbehaves as its config says.

Only tests use it: what the sandbox must survive of a guest with an interpreter in it.
"""

import json
import time

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.transform import Changes, Contract
from wit_world.imports.data import Description

fault = None


class Transform(exports.Transform):
    def describe(self):
        return Description("hostile", "0.1.0", "Misbehaves as its config says (in Python)", None)

    def configure(self, input, config):
        global fault
        fault = FAULTS.get(json.loads(config).get("fault"))
        if fault is None:
            raise Err(f"`fault` is one of {', '.join(FAULTS)}")
        return Contract(needs=[], returns=[], drops=[], selects=False)

    def apply(self, input):
        fault()
        return Changes(selection=None, columns=[], rejections=[])


def loop():
    while True:
        pass


def recurse(depth=0):
    return 1 + recurse(depth + 1)


def hoard():
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def exception():
    raise TypeError("something is None")


FAULTS = {
    "none": lambda: None,
    "loop": loop,
    "recurse": recurse,
    "hoard": hoard,
    "exception": exception,
    "wait": lambda: time.sleep(60),
}
