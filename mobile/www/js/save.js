/** Answers as files that a person can keep: the columns and fields of `sonoforge classify --csv` and `--json`. */

import { inAndroidApp, saveWithAndroid } from "./android.js";

const QUALITY = ["sharpness", "noise", "contrast", "brightness", "saturated", "black", "resolution"];
// What a spreadsheet would run as a formula.
const FORMULA = /^[=+\-@\t\r]/;

/** @param {{file: string, result: import("./classifier.js").Result}[]} answers */
export function toCsv(answers, classes) {
  const header = ["file", "ok", "error", "label", ...classes.map((name) => `p_${name}`), "set", "trust_score",
    "in_distribution", "trust_reasons", ...QUALITY, "quality_flags"];
  const rows = answers.map(({ file, result, error }) =>
    result
      ? [file, "true", "", result.label, ...classes.map((name) => result.probabilities[name]), result.set.join("|"),
          result.trust.score, result.trust.in_distribution, result.trust.reasons.join("|"),
          ...QUALITY.map((name) => result.quality[name]), result.quality.flags.join("|")]
      : [file, "false", error, ...header.slice(3).map(() => "")],
  );
  return [header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value) {
  let text = String(value);
  if (typeof value === "string" && FORMULA.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {{file: string, result: import("./classifier.js").Result}[]} answers */
export function toJson(answers, notice) {
  const results = answers.map(({ file, result, error, code }) => {
    if (!result) return { file, ok: false, error: { code, message: error } };
    const { activation, ...rest } = result;
    return { file, ok: true, ...rest };
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
