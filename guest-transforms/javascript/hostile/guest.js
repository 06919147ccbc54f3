// Guest `hostile` in JavaScript: misbehaves as its config says. Only tests use it: what the sandbox must
// survive of a guest with an interpreter in it.

let fault;

export const transform = {
  describe() {
    return {
      name: 'hostile',
      version: '0.1.0',
      about: 'Misbehaves as its config says (in JavaScript)',
      configSchema: undefined,
    };
  },

  configure(_input, json) {
    fault = FAULTS[JSON.parse(json).fault];
    if (fault === undefined) throw `\`fault\` is one of ${Object.keys(FAULTS).join(', ')}`;
    return { needs: [], returns: [], drops: [], selects: false };
  },

  apply() {
    fault();
    return { selection: undefined, columns: [], rejections: [] };
  },
};

const FAULTS = {
  none() {},

  loop() {
    for (;;);
  },

  recurse() {
    const deeper = (depth) => 1 + deeper(depth + 1);
    deeper(0);
  },

  hoard() {
    const hoard = [];
    for (;;) hoard.push(new Uint8Array(1 << 20));
  },

  exception() {
    throw new TypeError('something is undefined');
  },

  async wait() {
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  },
};
