package sonoforge.sample

import java.io.File
import java.security.MessageDigest
import org.json.JSONArray
import org.json.JSONObject

/** A question behind the label, such as whether there is a lesion; yes from the threshold on of its score. */
class Question(val name: String, val positive: List<String>, val among: List<String>, val threshold: Double)

/** What a bundle's manifest.json says of its network's pictures and answers. */
class Rules(private val folder: File) {
    private val manifest = JSONObject(File(folder, "manifest.json").readText())
    private val pictures = manifest.getJSONObject("preprocessing")
    private val thresholds = manifest.getJSONObject("conformal").getJSONObject("thresholds")
    private val decision = manifest.getJSONObject("decision")

    val classes: List<String> = names(manifest.getJSONArray("classes"))
    val side = pictures.getInt("size")
    val mean = numbers(pictures.getJSONArray("mean"))
    val deviation = numbers(pictures.getJSONArray("std"))
    val temperature = manifest.getJSONObject("calibration").getDouble("temperature")

    init {
        require(pictures.getString("resample") == "bilinear") { "this code resizes by the bilinear filter alone" }
        require(pictures.optString("crop", "none") == "none") { "this code does not crop scans" }
        require(!manifest.has("site")) { "this code lacks the rules of a bundle that was adapted to a site" }
    }

    fun threshold(name: String) = thresholds.getDouble(name)

    /** The share of a class that the network takes for granted. */
    fun reference(name: String) = decision.getJSONObject("reference").getDouble(name)

    /** The share of a class that answers assume where a clinic gives none. */
    fun default(name: String) = decision.getJSONObject("default").getDouble(name)

    /** The questions, at the operating point that was chosen for a sensitivity. */
    fun questions(sensitivity: Double) = questions { points -> points.first { it.getDouble("aim") == sensitivity } }

    fun mostSensitive() = questions { it.last() }

    private fun questions(choose: (List<JSONObject>) -> JSONObject): List<Question> {
        val all = decision.getJSONArray("questions")
        return List(all.length()) { all.getJSONObject(it) }.map { question ->
            val points = question.getJSONArray("points")
            val point = choose(List(points.length()) { points.getJSONObject(it) })
            Question(
                question.getString("name"),
                names(question.getJSONArray("positive")),
                names(question.getJSONArray("among")),
                point.getDouble("threshold")
            )
        }
    }

    /** A file of the bundle, whose SHA-256 is the manifest's. */
    fun file(name: String): File {
        val file = File(folder, name)
        val found = MessageDigest.getInstance("SHA-256").digest(file.readBytes()).joinToString("") { "%02x".format(it) }
        val expected = manifest.getJSONObject("files").getJSONObject(name).getString("sha256")
        check(found == expected) { "$name: found SHA-256 $found, expected $expected" }
        return file
    }

    private fun names(all: JSONArray) = List(all.length()) { all.getString(it) }

    private fun numbers(all: JSONArray) = DoubleArray(all.length()) { all.getDouble(it) }
}
