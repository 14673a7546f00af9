/** Between the page and the Android app around it (`PageActivity.java`); in a browser there is none of it. */

const app = globalThis.sonoforgeAndroid;

/** Whether the page runs in the Android app. */
export const inAndroidApp = app !== undefined;

/**
 * Have Android ask where to save a text, or bytes, which it gets in Base64; a web view saves no download by itself.
 */
export async function saveWithAndroid(name, type, content) {
  const bytes = new Uint8Array(await new Blob([content]).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  app.save(name, type, btoa(text));
}

/**
 * Let the app hand over pictures that were shared with it, and close dialogs with the phone's back button.
 *
 * @param {(files: File[]) => void} add
 */
export function connectAndroidApp(add) {
  if (!inAndroidApp) return;
  globalThis.sonoforgeTakeShared = async () => add(await Promise.all(JSON.parse(app.shared()).map(read)));
  globalThis.sonoforgeBack = closeDialog;
  globalThis.sonoforgeTakeShared();
}

/** What cannot be read becomes an empty file, which is answered with that reason. */
async function read([address, name]) {
  const answer = await fetch(address);
  return new File(answer.ok ? [await answer.blob()] : [], name);
}

/** @returns {boolean} Whether there was an open one. */
function closeDialog() {
  const dialog = [...document.querySelectorAll("dialog[open]")].at(-1);
  dialog?.close();
  return dialog !== undefined;
}
