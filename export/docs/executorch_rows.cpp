// executorch_rows FILE SIDE <images >outputs: a .pte's four outputs for each float32 image (3, SIDE, SIDE), one after the other.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace executorch::extension;

int main(int, char** given) {
  Module network(given[1]);
  const int side = std::atoi(given[2]);
  std::vector<float> values(3 * side * side);
  while (std::fread(values.data(), sizeof(float), values.size(), stdin) == values.size()) {
    auto image = from_blob(values.data(), {1, 3, side, side});  // channel by channel
    auto outputs = network.forward(image);
    if (!outputs.ok()) {
      std::fprintf(stderr, "%s: ExecuTorch error %d\n", given[1], static_cast<int>(outputs.error()));
      return 1;
    }
    for (const auto& output : *outputs) {
      const auto& tensor = output.toTensor();
      std::fwrite(tensor.const_data_ptr<float>(), sizeof(float), tensor.numel(), stdout);
    }
  }
}
