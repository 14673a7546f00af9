package sonoforge.sample

/** A picture: red, green and blue of each pixel, row by row. */
class Picture(val width: Int, val height: Int, val rgb: ByteArray)

private const val PRECISION = 22 // of Pillow, src/libImaging/Resample.c

/** For each output position: the first input, and the weights of the inputs from there. */
private fun weights(inputs: Int, outputs: Int): List<Pair<Int, IntArray>> {
    val scale = inputs.toDouble() / outputs
    val stretch = maxOf(scale, 1.0)
    return List(outputs) { i ->
        val centre = (i + 0.5) * scale
        val first = maxOf(0, (centre - stretch + 0.5).toInt())
        val last = minOf(inputs, (centre + stretch + 0.5).toInt())
        val raw = DoubleArray(last - first) { maxOf(0.0, 1 - Math.abs((first + it - centre + 0.5) / stretch)) }
        val sum = raw.sum()
        Pair(first, IntArray(raw.size) { (raw[it] / sum * (1 shl PRECISION) + 0.5).toInt() })
    }
}

/** Resizes along one direction: `lines` lines of `inputs` positions become lines of `outputs`. */
private fun resize(from: ByteArray, inputs: Int, outputs: Int, lines: Int, step: Int, line: Int): ByteArray {
    if (inputs == outputs) return from
    val out = ByteArray(outputs * lines * 3)
    val outLine = if (step == 3) outputs * 3 else 3 // along a row, or down a column
    weights(inputs, outputs).forEachIndexed { i, (first, weights) ->
        for (y in 0 until lines) for (channel in 0..2) {
            var sum = 1 shl (PRECISION - 1)
            for (k in weights.indices) {
                sum += weights[k] * (from[y * line + (first + k) * step + channel].toInt() and 255)
            }
            out[y * outLine + i * step + channel] = minOf(255, sum shr PRECISION).toByte()
        }
    }
    return out
}

/** Squeezes a picture to the network's square. */
fun squeeze(picture: Picture, side: Int): ByteArray {
    val narrow = resize(picture.rgb, picture.width, side, picture.height, 3, picture.width * 3)
    return resize(narrow, picture.height, side, side, side * 3, 3)
}

/** The network's input (1, 3, S, S): each value is (v / 255 - mean) / deviation, rounded once. */
fun normalise(pixels: ByteArray, rules: Rules): FloatArray {
    val area = rules.side * rules.side
    val out = FloatArray(3 * area)
    for (channel in 0..2) {
        val table = FloatArray(256) { ((it / 255.0 - rules.mean[channel]) / rules.deviation[channel]).toFloat() }
        for (i in 0 until area) out[channel * area + i] = table[pixels[3 * i + channel].toInt() and 255]
    }
    return out
}
