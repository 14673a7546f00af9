package sonoforge.sample

import java.io.File
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

class ExecuTorchNetwork(file: File) : Network {
    private val program = Module.load(file.path)

    override fun logits(input: FloatArray, shape: LongArray): FloatArray =
        program.forward(EValue.from(Tensor.fromBlob(input, shape)))[0].toTensor().dataAsFloatArray
}
