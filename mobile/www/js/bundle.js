/**
 * A bundle's files, each compared with its manifest, and numpy's `.npz` among them: a zip of `.npy` arrays.
 *
 * Sources: APPNOTE.TXT 6.3 (zip), sections 4.3.12 and 4.3.16; numpy.lib.format, version 1.0 to 3.0.
 */

import { BundleError, inflate, viewOf } from "./bytes.js";

/** Fetch a bundle's files from a folder, an address with a slash, and compare each with the manifest; `file` is the model's. */
export async function openBundle(folder, file) {
  const manifest = JSON.parse(new TextDecoder().decode(await load(`${folder}manifest.json`)));
  if (manifest.format_version !== 1 || manifest.task !== "classification") {
    throw new BundleError(`manifest.json: holds ${manifest.task} ${manifest.format_version}, not classification 1`);
  }
  const checked = (name) => loadChecked(folder + name, name, manifest.files[name]);
  const arrays = async (name) => readNpz(await checked(name), name);
  const [model, reference, golden] = await Promise.all([checked(file), arrays("reference.npz"), arrays("golden.npz")]);
  return { manifest, model, file, reference, golden };
}

/** Load a file and compare it with its entry in the manifest. */
async function loadChecked(address, name, entry) {
  const content = await load(address);
  if (!entry || content.length !== entry.bytes || (await sha256(content)) !== entry.sha256) {
    throw new BundleError(`${name}: is not the file that the manifest names; install the app again`);
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

/** Read a file as arrays `{shape, data}` by name; float16 becomes float32. */
async function readNpz(data, name) {
  const arrays = {};
  for (const [file, content] of await readZip(data, name)) {
    if (!file.endsWith(".npy")) throw new BundleError(`${name}: ${file} is no array`);
    arrays[file.slice(0, -4)] = readNpy(content, `${name}: ${file}`);
  }
  return arrays;
}

/** Without the checks of a zip: the whole file has been compared with its SHA-256. */
async function readZip(data, name) {
  const view = viewOf(data);
  let end = data.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new BundleError(`${name}: not a zip file; export the bundle again`);
  let position = view.getUint32(end + 16, true);
  const files = [];
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const method = view.getUint16(position + 10, true);
    const packed = view.getUint32(position + 20, true);
    const size = view.getUint32(position + 24, true);
    const nameLength = view.getUint16(position + 28, true);
    const skipped = nameLength + view.getUint16(position + 30, true) + view.getUint16(position + 32, true);
    const local = view.getUint32(position + 42, true);
    const file = new TextDecoder().decode(data.subarray(position + 46, position + 46 + nameLength));
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const raw = data.subarray(start, start + packed);
    files.push([file, method === 0 ? raw : await inflate(raw, "deflate-raw", size)]);
    position += 46 + skipped;
  }
  return files;
}

function readNpy(data, name) {
  const view = viewOf(data);
  const long = data[6] >= 2;
  const start = long ? 12 : 10;
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(data.subarray(start, start + length));
  const kind = /'descr': *'([^']+)'/.exec(header)?.[1];
  const shape = (/'shape': *\(([^)]*)\)/.exec(header)?.[1] ?? "").split(",").filter((s) => s.trim()).map(Number);
  const columnsFirst = /'fortran_order': *True/.test(header);
  const size = shape.reduce((product, side) => product * side, 1);
  const bytes = data.slice(start + length).buffer; // a copy, so that it is aligned
  const stored = KINDS[kind]?.(bytes, size);
  if (!stored || (columnsFirst && shape.length > 2)) {
    throw new BundleError(`${name}: numbers of type ${kind} are not <f2, <f4, <f8, <i8 or |u1`);
  }
  return { shape, data: columnsFirst && shape.length === 2 ? transposed(stored, shape) : stored };
}

const KINDS = {
  "<f4": (bytes, size) => new Float32Array(bytes, 0, size),
  "<f8": (bytes, size) => new Float64Array(bytes, 0, size),
  "|u1": (bytes, size) => new Uint8Array(bytes, 0, size),
  "<i8": (bytes, size) => new BigInt64Array(bytes, 0, size),
  "<f2": (bytes, size) => Float32Array.from(new Uint16Array(bytes, 0, size), fromHalf),
};

/** A matrix stored column by column, row by row. */
function transposed(stored, [rows, columns]) {
  const out = stored.slice();
  for (let i = 0; i < rows; i++) for (let k = 0; k < columns; k++) out[i * columns + k] = stored[k * rows + i];
  return out;
}

/** IEEE 754 binary16 to a number. */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * 2 ** -24 * fraction;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}
