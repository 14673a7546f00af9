/** A bundle's files, each compared with its hash; its arrays are packed by `web_app.py`. */

import { BundleError, inflate } from "./bytes.js";

/** Fetch a bundle's files from a folder, an address with a slash; `model` is the model's, `arrays` the entry of the packed ones. */
export async function openBundle(folder, { model: file, arrays: entry }) {
  const manifest = JSON.parse(new TextDecoder().decode(await load(`${folder}manifest.json`)));
  if (manifest.format_version !== 1 || manifest.task !== "classification") {
    throw new BundleError(`manifest.json: holds ${manifest.task} ${manifest.format_version}, not classification 1`);
  }
  const [model, packed] = await Promise.all([
    loadChecked(folder + file, file, manifest.files[file]),
    loadChecked(`${folder}arrays.bin`, "arrays.bin", entry),
  ]);
  const arrays = await inflate(packed, "deflate", entry.size);
  return { manifest, model, file, reference: unpacked(arrays, entry.reference), golden: unpacked(arrays, entry.golden) };
}

/** Load a file and compare it with its entry, of the manifest or of `app.json`. */
async function loadChecked(address, name, entry) {
  const content = await load(address);
  if (!entry || content.length !== entry.bytes || (await sha256(content)) !== entry.sha256) {
    throw new BundleError(`${name}: is not the file of this app; install the app again`);
  }
  return content;
}

async function load(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new BundleError(`${address}: cannot be read (${answer.status}); install the app again`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** Return a hash in hexadecimal digits. */
export async function sha256(content) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const KINDS = { f: Float32Array, d: Float64Array, B: Uint8Array, q: BigInt64Array }; // by numpy's characters

/** Return a table of packed arrays as `{shape, data}` by name. */
function unpacked({ buffer }, table) {
  const array = ([kind, shape, place]) => ({ shape, data: new KINDS[kind](buffer, place, shape.reduce((all, side) => all * side, 1)) });
  return Object.fromEntries(Object.entries(table).map(([name, row]) => [name, array(row)]));
}
