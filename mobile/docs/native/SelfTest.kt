package sonoforge.sample

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.ZipFile

/** As `sonoforge verify` allows for float32; int8 files differ by more: see the bundle's own figures. */
const val TOLERANCE = 1e-3f

/** The largest difference between this phone's logits and the recorded ones. */
fun selfTest(rules: Rules, network: Network): Float =
    ZipFile(rules.file("golden.npz")).use { golden ->
        val pixels = array(golden, "pixels", "|u1")
        val expected = array(golden, "logits", "<f4").asFloatBuffer()
        val area = 3 * rules.side * rules.side
        var largest = 0f
        while (expected.hasRemaining()) {
            val square = ByteArray(area).also { pixels.get(it) }
            for (found in classifySquare(square, rules, network)) {
                largest = maxOf(largest, Math.abs(found - expected.get()))
            }
        }
        check(!pixels.hasRemaining()) { "golden.npz: found more images than answers" }
        largest
    }

/** The values of an array in an .npz file, as numpy writes it. */
private fun array(zip: ZipFile, name: String, type: String): ByteBuffer {
    val all = ByteBuffer.wrap(zip.getInputStream(zip.getEntry("$name.npy")).readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    val start = 10 + all.getShort(8) // magic and version, the header's length, the header
    val header = String(all.array(), 10, start - 10, Charsets.US_ASCII)
    check("'descr': '$type'" in header && "'fortran_order': False" in header) { "golden.npz: $name is $header" }
    all.position(start)
    return all.slice().order(ByteOrder.LITTLE_ENDIAN)
}
