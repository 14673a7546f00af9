/**
 * dicom-parser, from `vendor/`.  It has no ES module: it hands itself to `define`, as loaders of its time had it.
 */

async function load() {
  let parser;
  globalThis.define = Object.assign((_name, _needs, make) => void (parser = make()), { amd: true });
  try {
    await import("../../vendor/dicomParser.min.js");
  } finally {
    delete globalThis.define;
  }
  return parser;
}

export default await load();
