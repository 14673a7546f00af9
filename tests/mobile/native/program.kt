package sonoforge.stand_in

import java.io.DataInputStream
import java.io.File
import java.util.Arrays
import sonoforge.sample.Clinic
import sonoforge.sample.ExecuTorchNetwork
import sonoforge.sample.Network
import sonoforge.sample.OnnxNetwork
import sonoforge.sample.Picture
import sonoforge.sample.Rules
import sonoforge.sample.answer
import sonoforge.sample.selfTest
import sonoforge.sample.squeeze

/** What Python gave its engine and got from it: an input that is not among these, to the bit, is an error. */
object Recorded {
    val variables = HashMap<String, String>()
    private val answers = ArrayList<Pair<FloatArray, FloatArray>>()

    fun read(file: File) = DataInputStream(file.inputStream().buffered()).use { data ->
        repeat(data.readInt()) {
            val input = FloatArray(data.readInt()) { data.readFloat() }
            answers.add(Pair(input, FloatArray(data.readInt()) { data.readFloat() }))
        }
    }

    fun logits(input: FloatArray, shape: LongArray): FloatArray {
        val side = Math.sqrt(input.size / 3.0).toLong()
        check(Arrays.equals(shape, longArrayOf(1, 3, side, side)))
        return answers.first { Arrays.equals(it.first, input) }.second
    }

    fun all() = answers.map { it.second }
}

/** BUNDLE RECORDED PICTURES: prints the self-tests, the answers, and the squeezed pictures as hex. */
fun main(arguments: Array<String>) {
    val (bundle, recorded, pictures) = arguments.map { File(it) }
    val rules = Rules(bundle)
    Recorded.read(recorded)
    val networks: List<Network> = listOf(OnnxNetwork(rules.file("model.onnx")), ExecuTorchNetwork(File("model.pte")))
    for (network in networks) println("self-test " + selfTest(rules, network))
    val shares = mapOf("normal" to 0.6, "benign" to 0.3, "malignant" to 0.1)
    for (clinic in listOf(Clinic(), Clinic(shares, 0.8))) for (logits in Recorded.all()) {
        val found = answer(logits, rules, clinic)
        val findings = found.findings.map { (name, one) -> name + ":" + one.positive + ":" + one.probability }
        val parts = listOf(found.label, found.set.joinToString("|"), found.probabilities.values.joinToString(","))
        println("answer " + parts.joinToString(" ") + " " + findings.joinToString("|"))
    }
    DataInputStream(pictures.inputStream().buffered()).use { data ->
        repeat(data.readInt()) {
            val width = data.readInt()
            val height = data.readInt()
            val picture = Picture(width, height, ByteArray(3 * width * height).also { data.readFully(it) })
            println("picture " + squeeze(picture, rules.side).joinToString("") { "%02x".format(it) })
        }
    }
}
