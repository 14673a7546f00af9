/**
 * Save answers with the columns and fields of `sonoforge classify --csv` and `--json`, and talk to the Android app around the page
 * (`PageActivity.java`), if there is one.
 */

const app = globalThis.sonoforgeAndroid;

/** Whether the page runs in the Android app. */
export const inAndroidApp = app !== undefined;

// What a spreadsheet would run as a formula; see `sonoforge.runtime.csv_tables`.
const FORMULA = /^'*[=+\-@\t\r]/;

/** Return CSV with `columns` of `app.json`, of which `series` and motion stay empty; `origin` is the model's SHA-256 and its settings. */
export function toCsv(answers, header, origin) {
  const rows = answers.map((answer) => {
    const file = { bytes: answer.bytes, modified_ns: `${answer.modified}000000` };
    const cells = { ...(answer.result ? cellsOf(answer) : failureOf(answer)), ...file, ...origin };
    return header.map((name) => cell(cells[name] ?? ""));
  });
  return [header, ...rows].map((row) => row.join(",") + "\n").join("");
}

function cellsOf({ file, result, dicom, copy_of, seems_copy_of }) {
  const { trust, quality } = result;
  return {
    file,
    ok: true,
    verdict: result.verdict,
    label: result.label,
    ...Object.fromEntries(Object.entries(result.probabilities).map(([name, value]) => [`p_${name}`, value])),
    ...findingsOf(result),
    set: result.set.join("|"),
    trust_score: trust.score,
    in_distribution: trust.in_distribution,
    trust_reasons: trust.reasons.join("|"),
    ...quality,
    quality_flags: quality.flags.join("|"),
    kind: result.kind,
    marks: result.marks.summary,
    remarks: result.remarks.join("|"),
    dicom_region: dicom?.region?.join("|"),
    crop_box: result.crop?.box.join("|"),
    copy_of,
    seems_copy_of,
    trained_on: result.trained_on ?? "",
  };
}

const findingsOf = ({ findings }) =>
  Object.fromEntries(
    Object.entries(findings).flatMap(([name, { probability, positive, threshold }]) => [
      [`q_${name}`, probability],
      [`yes_from_${name}`, threshold],
      [name, positive ? "yes" : "no"],
    ]),
  );

const failureOf = ({ file, error, code }) => ({ file, ok: false, error_code: code, error_message: `${file}: ${error}` });

function cell(value) {
  let text = String(value);
  if (typeof value === "string" && FORMULA.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const FIELDS = [
  ...["verdict", "label", "probabilities", "set", "findings", "abstained", "trust", "trained_on", "quality", "kind", "marks", "remarks"],
  ...["model", "map", "crop", "ms"],
];

export function toJson(answers, clinic, notice) {
  const results = answers.map(({ file, result, clip, dicom, copy_of, seems_copy_of, error, code }) => {
    if (!result) return { file, ok: false, error: { code, message: `${file}: ${error}` } };
    const own = Object.fromEntries(FIELDS.map((name) => [name, result[name]]));
    return { file, ok: true, ...own, clip, dicom, copy_of, seems_copy_of }; // what is undefined is not written
  });
  return JSON.stringify({ notice, clinic, results }, null, 2) + "\n";
}

/** Download text or bytes in a browser; in the Android app, let the phone save them. */
export function download(name, type, content) {
  const blob = new Blob([content], { type });
  if (inAndroidApp) {
    // A web view saves no download by itself: Android asks where to, and gets the bytes in Base64.
    const reader = new FileReader();
    reader.onload = () => app.save(name, type, reader.result.split(",")[1]);
    reader.readAsDataURL(blob);
    return;
  }
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Hide what the Android app cannot do, and let the phone's back button close dialogs. */
export function connectAndroidApp() {
  if (!inAndroidApp) return;
  document.getElementById("camera").closest("label").hidden = true;
  globalThis.sonoforgeBack = () => {
    const dialog = [...document.querySelectorAll("dialog[open]")].at(-1);
    dialog?.close();
    return dialog !== undefined;
  };
}
