/** Open any file that a person gives the page: as one picture, or as the frames of a clip. */

import { ascii } from "./bytes.js";
import { decodeImage, readFile } from "./decode.js";

const REPRESENTATION =
  "(?:AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OF|OW|PN|SH|SL|SQ|SS|ST|TM|UC|UI|UL|UN|UR|US|UT)";
// Without a preamble: an element of group 0002 or 0008, in either order of bytes.
const BARE = new RegExp(
  `^(?:(?:[\\x02\\x08]\\0[^]\\0|\\0[\\x02\\x08]\\0[^])${REPRESENTATION}|[\\x02\\x08]\\0[^]\\0[^][^]\\0\\0)`,
);

/** Whether a file, or its beginning, is DICOM; as `sonoforge.runtime.images.file_kinds` decides. */
export const isDicom = (data) => ascii(data, 128, 4) === "DICM" || BARE.test(ascii(data, 0, 8));

/**
 * Open a file; the DICOM reader is loaded with the first one that needs it.
 *
 * @returns {Promise<import("./dicom/reader.js").DicomImage>} Without `toDict` unless it is DICOM.
 * @throws {import("./errors.js").ImageError} And nothing else, whatever the file holds.
 */
export async function openInput(file) {
  const data = await readFile(file);
  if (isDicom(data)) return (await import("./dicom/reader.js")).openDicom(data);
  return { frameCount: 1, frame: () => decodeImage(data) };
}
