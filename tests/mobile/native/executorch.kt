/** ExecuTorch's Android API as far as the page uses it; answers as recorded. */
package org.pytorch.executorch

import sonoforge.stand_in.Recorded

class Tensor private constructor(val dataAsFloatArray: FloatArray, private val shape: LongArray) {
    fun shape() = shape

    companion object {
        @JvmStatic fun fromBlob(data: FloatArray, shape: LongArray) = Tensor(data, shape)
    }
}

class EValue private constructor(private val tensor: Tensor) {
    fun toTensor() = tensor

    companion object {
        @JvmStatic fun from(tensor: Tensor) = EValue(tensor)
    }
}

class Module private constructor() {
    fun forward(vararg inputs: EValue): Array<EValue> {
        val input = inputs.single().toTensor()
        val logits = Recorded.logits(input.dataAsFloatArray, input.shape())
        return arrayOf(EValue.from(Tensor.fromBlob(logits, longArrayOf(1, logits.size.toLong()))))
    }

    companion object {
        @JvmStatic fun load(path: String) = Module()
    }
}
