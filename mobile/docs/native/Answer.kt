package sonoforge.sample

/** Whatever computes logits (C) from an input (1, 3, S, S). */
interface Network {
    fun logits(input: FloatArray, shape: LongArray): FloatArray
}

/** Where answers are for: the share of each class there, null for the bundle's, and the sensitivity of the questions. */
class Clinic(val prevalence: Map<String, Double>? = null, val sensitivity: Double = 0.95)

/** How likely it is, in the clinic, that the answer to a question is yes; and the answer. */
class Finding(val probability: Double, val positive: Boolean)

/** The most probable class, it and the others that cannot be ruled out (one is clear, several are open), the questions. */
class Answer(
    val probabilities: Map<String, Double>,
    val label: String,
    val set: List<String>,
    val findings: Map<String, Finding>
)

private fun normalised(weights: Map<String, Double>): Map<String, Double> {
    val sum = weights.values.sum()
    return weights.mapValues { it.value / sum }
}

/** The probability of a question's yes, among the classes that it is about; 0 where none fits. */
private fun among(probabilities: Map<String, Double>, question: Question): Double {
    val whole = question.among.map { probabilities.getValue(it) }.sum()
    return if (whole > 0) question.positive.map { probabilities.getValue(it) }.sum() / whole else 0.0
}

/** Softmax of the logits divided by the calibration's temperature; then what `sonoforge classify` makes of it. */
fun answer(logits: FloatArray, rules: Rules, clinic: Clinic = Clinic()): Answer {
    val scaled = logits.map { it / rules.temperature }
    val largest = scaled.sortedDescending().first()
    val powers = rules.classes.zip(scaled.map { Math.exp(it - largest) }).toMap()
    val equal = normalised(powers.mapValues { it.value / rules.reference(it.key) })
    val here = normalised(equal.mapValues { it.value * (clinic.prevalence?.getValue(it.key) ?: rules.default(it.key)) })
    val label = rules.classes.sortedByDescending { here.getValue(it) }.first()
    val fitting = rules.classes.filter { it == label || equal.getValue(it) >= rules.threshold(it) }
    // A question about all classes: below its most sensitive point alone may a set do without a positive class.
    val missing = rules.mostSensitive().filter { question ->
        question.among.size == rules.classes.size && fitting.none { it in question.positive } &&
            among(equal, question) >= question.threshold
    }.map { question -> question.positive.sortedByDescending { equal.getValue(it) }.first() }
    val set = rules.classes.filter { it in fitting || it in missing }
    val findings = rules.questions(clinic.sensitivity).associate {
        it.name to Finding(among(here, it), among(equal, it) >= it.threshold)
    }
    return Answer(here, label, set, findings)
}

fun classify(picture: Picture, rules: Rules, network: Network, clinic: Clinic = Clinic()) =
    answer(classifySquare(squeeze(picture, rules.side), rules, network), rules, clinic)

fun classifySquare(pixels: ByteArray, rules: Rules, network: Network): FloatArray =
    network.logits(normalise(pixels, rules), longArrayOf(1, 3, rules.side.toLong(), rules.side.toLong()))
