/** Open any file that a person gives the page: as one picture, or as the frames of a clip. */

import { decodeImage, readFile } from "./decode.js";
import { isDicom } from "./dicom/opening.js";

/**
 * What reads DICOM is loaded with the first such file.
 *
 * @param {Blob} file
 * @returns {Promise<import("./dicom/reader.js").DicomImage>} Without `toDict` where it is no DICOM.
 * @throws {import("./errors.js").ImageError} And nothing else, whatever the file holds.
 */
export async function openInput(file) {
  const data = await readFile(file);
  if (isDicom(data)) return (await import("./dicom/reader.js")).openDicom(data);
  return { frameCount: 1, frame: () => decodeImage(data) };
}
