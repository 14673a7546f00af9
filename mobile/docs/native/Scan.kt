package sonoforge.sample

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.net.Uri
import java.io.File
import java.nio.ByteBuffer

/** Reads a scan.  Android's decoder does not turn photographs by their EXIF record: do that first where they have one. */
fun read(context: Context, scan: Uri): Picture {
    val options = BitmapFactory.Options().apply {
        inScaled = false
        inPreferredConfig = Bitmap.Config.ARGB_8888
    }
    val bitmap = context.contentResolver.openInputStream(scan).use { BitmapFactory.decodeStream(it, null, options) }
    checkNotNull(bitmap) { "no picture that Android can read" }
    // Bytes in the order red, green, blue, alpha; colours are multiplied by alpha already, as on a black ground.
    val rgba = ByteBuffer.allocate(bitmap.byteCount).also { bitmap.copyPixelsToBuffer(it) }.array()
    val rgb = ByteArray(3 * bitmap.width * bitmap.height) { rgba[it / 3 * 4 + it % 3] }
    return Picture(bitmap.width, bitmap.height, rgb)
}

/** Unpacks the bundle's files at the first start: ExecuTorch reads files, not assets. */
fun unpack(context: Context, names: List<String>): File {
    for (name in names) {
        context.assets.open(name).use { from -> File(context.filesDir, name).outputStream().use { from.copyTo(it) } }
    }
    return context.filesDir
}
