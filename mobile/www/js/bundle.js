import { BundleError } from "./errors.js";
import { readNpz } from "./npz.js";

/**
 * @typedef {object} Bundle
 * @property {any} manifest
 * @property {Record<string, import("./npz.js").Matrix>} reference - `reference.npz`.
 * @property {Record<string, import("./npz.js").Matrix>} golden - `golden.npz`.
 * @property {Uint8Array} model - The model file that answers.
 * @property {string} file - Its name.
 * @property {any} own - `golden` of `app.json`: whose answers `golden` holds, where they are not the bundle's.
 */

/**
 * Fetch a bundle's files and compare each with the manifest.
 *
 * @param {string} app - Address of the app's folder, with a slash at its end.
 * @param {{model: string, golden: any}} settings - `app.json`: the model file to answer with.
 * @returns {Promise<Bundle>}
 * @throws {BundleError}
 */
export async function openBundle(app, { model: file, golden: own }) {
  const { manifest, checked } = await openFolder(`${app}bundle/`, "classification");
  const arrays = async (name) => readNpz(await checked(name), name);
  const [model, reference, golden] = await Promise.all([
    checked(file),
    arrays("reference.npz"),
    own ? loadChecked(app + own.file, own.file, own).then((content) => readNpz(content, own.file)) : arrays("golden.npz"),
  ]);
  return { manifest, model, file, reference, golden, own };
}

/**
 * @param {string} folder - Address of a bundle's folder, with a slash at its end.
 * @returns {Promise<{manifest: any, checked: (name: string) => Promise<Uint8Array>}>} And what loads a file of it.
 * @throws {BundleError}
 */
export async function openFolder(folder, task) {
  const manifest = JSON.parse(new TextDecoder().decode(await load(`${folder}manifest.json`)));
  if (manifest.format_version !== 1 || manifest.task !== task) {
    throw new BundleError(`manifest.json: found ${manifest.task} ${manifest.format_version}, expected ${task} 1`);
  }
  return { manifest, checked: (name) => loadChecked(folder + name, name, manifest.files[name]) };
}

/**
 * @param {string} name - For messages.
 * @param {{sha256: string, bytes: number} | undefined} entry - What the file must be.
 * @throws {BundleError}
 */
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

/** @returns {Promise<string>} In hexadecimal digits. */
export async function sha256(content) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
