/** ONNX Runtime's Java API as far as the page uses it; answers as recorded. */
package ai.onnxruntime

import java.nio.FloatBuffer
import java.util.Optional
import sonoforge.stand_in.Recorded

class OrtEnvironment private constructor() {
    fun createSession(path: String, options: OrtSession.SessionOptions) = OrtSession(path, options)

    fun setTelemetry(send: Boolean) = check(!send)

    companion object {
        @JvmStatic fun getEnvironment(): OrtEnvironment {
            check(Recorded.variables["ORT_DISABLE_TELEMETRY"] == "1") { "telemetry starts with the library" }
            return OrtEnvironment()
        }
    }
}

class OnnxTensor private constructor(val data: FloatBuffer, val shape: LongArray) : OnnxValue, AutoCloseable {
    override val value: Any get() = data

    override fun close() {}

    companion object {
        @JvmStatic fun createTensor(environment: OrtEnvironment, data: FloatBuffer, shape: LongArray) = OnnxTensor(data, shape)
    }
}

interface OnnxValue {
    val value: Any
}

private class Logits(override val value: Any) : OnnxValue

class OrtSession(private val path: String, options: SessionOptions) : AutoCloseable {
    class SessionOptions

    class Result(private val values: Map<String, OnnxValue>) : AutoCloseable {
        fun get(name: String): Optional<OnnxValue> = Optional.ofNullable(values[name])

        override fun close() {}
    }

    fun run(inputs: Map<String, OnnxTensor>): Result {
        check(path.endsWith("model.onnx"))
        val input = inputs.getValue("input")
        val values = FloatArray(input.data.remaining()).also { input.data.get(it) }
        return Result(mapOf("logits" to Logits(arrayOf(Recorded.logits(values, input.shape)))))
    }

    override fun close() {}
}
