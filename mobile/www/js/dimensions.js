/**
 * Width and height from the header of a file that the browser decodes: a picture that is too large is refused before
 * its pixels take memory.
 *
 * Sources: ITU-T T.81, B.2.2 (JPEG); GIF89a, section 18; BITMAPCOREHEADER and BITMAPINFOHEADER (BMP); RFC 9649 (WebP).
 */

/**
 * @param {Uint8Array} data - The whole file.
 * @param {string} type - Such as `image/jpeg`.
 * @returns {{width: number, height: number} | null} Null where the header is damaged: the decoder will say how.
 */
export function dimensions(data, type) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  try {
    return READERS[type](view, data);
  } catch (error) {
    if (error instanceof RangeError) return null; // beyond the end of the file
    throw error;
  }
}

const READERS = {
  "image/jpeg": (view) => {
    for (let at = 2; ; ) {
      if (view.getUint8(at) !== 0xff) return null;
      const marker = view.getUint8(at + 1);
      const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
      if (isFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
      at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
    }
  },
  "image/gif": (view) => ({ width: view.getUint16(6, true), height: view.getUint16(8, true) }),
  "image/bmp": (view) =>
    view.getUint32(14, true) === 12
      ? { width: view.getUint16(18, true), height: view.getUint16(20, true) }
      : { width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)) },
  "image/webp": (view) => {
    const kind = view.getUint8(15);
    if (kind === 0x58) return { width: 1 + (view.getUint32(24, true) & 0xffffff), height: 1 + (view.getUint32(26, true) >>> 8) };
    if (kind === 0x4c) {
      const bits = view.getUint32(21, true);
      return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
    }
    return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  },
};
