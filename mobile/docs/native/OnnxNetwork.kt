package sonoforge.sample

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.system.Os
import java.io.File
import java.nio.FloatBuffer

class OnnxNetwork(file: File) : Network, AutoCloseable {
    private val environment = quietEnvironment()
    private val session = environment.createSession(file.path, OrtSession.SessionOptions())

    @Suppress("UNCHECKED_CAST")
    override fun logits(input: FloatArray, shape: LongArray): FloatArray =
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(input), shape).use { tensor ->
            session.run(mapOf("input" to tensor)).use { (it.get("logits").get().value as Array<FloatArray>)[0] }
        }

    override fun close() = session.close()
}

private fun quietEnvironment(): OrtEnvironment {
    Os.setenv("ORT_DISABLE_TELEMETRY", "1", true)
    return OrtEnvironment.getEnvironment().apply { setTelemetry(false) }
}
