/** Recognise a DICOM file by its first bytes, as `sonoforge.runtime.images.file_kinds` does. */

import { ascii } from "../bytes.js";

const REPRESENTATION =
  "(?:AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OF|OW|PN|SH|SL|SQ|SS|ST|TM|UC|UI|UL|UN|UR|US|UT)";
// Without a preamble: an element of group 0002 or 0008, in either order of bytes.
const BARE = new RegExp(
  `^(?:(?:[\\x02\\x08]\\0[^]\\0|\\0[\\x02\\x08]\\0[^])${REPRESENTATION}|[\\x02\\x08]\\0[^]\\0[^][^]\\0\\0)`,
);

/** @param {Uint8Array} data - A file, or its beginning. */
export const isDicom = (data) => ascii(data, 128, 4) === "DICM" || BARE.test(ascii(data, 0, 8));
