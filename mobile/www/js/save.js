/** Answers as files that a person can keep: the columns and fields of `sonoforge classify --csv` and `--json`. */

import { inAndroidApp, saveWithAndroid } from "./android.js";

// What a spreadsheet would run as a formula; see `sonoforge.runtime.csv_cells`.
const FORMULA = /^'*[=+\-@\t\r]/;

/**
 * @typedef {object} Answer
 * @property {string} file
 * @property {number} bytes
 * @property {number} modified - Milliseconds since 1970; WebKit knows whole seconds alone.
 * @property {import("./classifier.js").Result} [result]
 * @property {string | null} copy_of
 * @property {string | null} seems_copy_of
 * @property {string} [error]
 * @property {string} [code]
 */

/**
 * @param {Answer[]} answers
 * @param {string[]} header - `columns` of `app.json`; those of DICOM and clips stay empty.
 * @param {{model: string, settings: string}} origin - SHA-256 of the model file, and `settings` of `app.json`.
 */
export function toCsv(answers, header, origin) {
  const rows = answers.map((answer) => {
    const cells = { ...(answer.result ? cellsOf(answer) : failureOf(answer)), ...identity(answer, origin) };
    return header.map((name) => cell(cells[name] ?? ""));
  });
  return [header, ...rows].map((row) => row.join(",") + "\n").join("");
}

function cellsOf({ file, result, copy_of, seems_copy_of }) {
  const { trust, quality } = result;
  return {
    file,
    ok: true,
    label: result.label,
    ...Object.fromEntries(Object.entries(result.probabilities).map(([name, value]) => [`p_${name}`, value])),
    set: result.set.join("|"),
    trust_score: trust.score,
    in_distribution: trust.in_distribution,
    trust_reasons: trust.reasons.join("|"),
    ...quality,
    quality_flags: quality.flags.join("|"),
    marks: result.marks.summary,
    crop_box: result.crop?.box.join("|"),
    copy_of,
    seems_copy_of,
  };
}

const failureOf = ({ file, error, code }) => ({ file, ok: false, error_code: code, error_message: `${file}: ${error}` });

const identity = ({ bytes, modified }, { model, settings }) => ({
  bytes,
  modified_ns: `${modified}000000`,
  model_sha256: model,
  settings,
});

function cell(value) {
  let text = String(value);
  if (typeof value === "string" && FORMULA.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {Answer[]} answers */
export function toJson(answers, notice) {
  const results = answers.map(({ file, result, copy_of, seems_copy_of, error, code }) => {
    if (!result) return { file, ok: false, error: { code, message: `${file}: ${error}` } };
    const { label, probabilities, set, trust, quality, marks, model, map, crop, ms } = result;
    const own = { label, probabilities, set, trust, quality, marks, model, map, crop, ms };
    return { file, ok: true, ...own, copy_of, seems_copy_of };
  });
  return JSON.stringify({ notice, results }, null, 2) + "\n";
}

/** Hand a text, or bytes, to the browser as a download, in the Android app to the phone. */
export function download(name, type, text) {
  if (inAndroidApp) {
    saveWithAndroid(name, type, text);
    return;
  }
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
