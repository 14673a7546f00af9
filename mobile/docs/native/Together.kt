package sonoforge.sample

import android.content.Context
import android.net.Uri

fun answerFor(context: Context, scan: Uri): Answer {
    val rules = Rules(unpack(context, listOf("manifest.json", "golden.npz", "model.onnx")))
    OnnxNetwork(rules.file("model.onnx")).use { network ->
        val difference = selfTest(rules, network)
        check(difference <= TOLERANCE) { "this phone differs by $difference: no answer" }
        return classify(read(context, scan), rules, network)
    }
}
