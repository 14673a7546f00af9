/**
 * Decompress with the browser's own decoder.
 *
 * @param {Uint8Array} data
 * @param {"deflate" | "deflate-raw"} format - With zlib's header (PNG), or without (zip).
 * @param {number} most - Bytes that the result may have.
 * @returns {Promise<Uint8Array>}
 * @throws {Error} The data are damaged, cut off, or larger than `most`.
 */
export async function inflate(data, format, most) {
  const packed = new ReadableStream({
    start(controller) {
      controller.enqueue(data);
      controller.close();
    },
  });
  const reader = packed.pipeThrough(new DecompressionStream(format)).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) {
      await reader.cancel();
      throw new Error(`found more than ${most} bytes after decompression`);
    }
    parts.push(value);
  }
  const joined = new Uint8Array(size);
  let position = 0;
  for (const part of parts) {
    joined.set(part, position);
    position += part.length;
  }
  return joined;
}
