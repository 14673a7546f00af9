// Answers for scans from a bundle, in C++ with ONNX Runtime: the numbers of `sonoforge classify`, one JSON line a scan.
//
//   g++ -std=c++17 -O2 classify.cpp -o classify -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime
//   ./classify BUNDLE scan.ppm other.pgm
//
// Needs nlohmann-json (MIT; Debian: nlohmann-json3-dev). Run `sonoforge verify BUNDLE` first: no hash is checked here.
// Research use, not a medical device. Without `trust` it answers for a photograph of a cat just as for a scan.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <numeric>
#include <set>
#include <stdexcept>

#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>

using json = nlohmann::ordered_json;
using Shares = std::map<std::string, double>;  // by class

struct Picture { int width, height; std::vector<uint8_t> rgb; };

// A binary PGM or PPM of 8 bits; comments may stand in its header.
Picture read_picture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int width = 0, height = 0, most = 0;
  file >> kind;
  for (int* number : {&width, &height, &most}) {
    for (std::string comment; (file >> std::ws).peek() == '#';) std::getline(file, comment);
    file >> *number;
  }
  file.get();
  const int channels = kind == "P6" ? 3 : kind == "P5" ? 1 : 0;
  if (!file || !channels || most != 255 || std::min(width, height) < 16 || std::max(width, height) > 16384)
    throw std::runtime_error(path + ": is not a PGM (P5) or PPM (P6) of 8 bits; convert the scan to one");
  std::vector<uint8_t> pixels(size_t(width) * height * channels), rgb(size_t(width) * height * 3);
  if (!file.read(reinterpret_cast<char*>(pixels.data()), pixels.size()))
    throw std::runtime_error(path + ": is cut off; obtain the file again");
  for (size_t i = 0; i < rgb.size(); i++) rgb[i] = pixels[channels == 3 ? i : i / 3];
  return {width, height, rgb};
}

// Pillow's bilinear filter, which averages when it shrinks, along rows (step 3) or columns (step 3 * width).
std::vector<uint8_t> resized(const std::vector<uint8_t>& from, int inputs, int outputs, int lines, int step, int line) {
  if (inputs == outputs) return from;
  std::vector<uint8_t> out(size_t(outputs) * lines * 3);
  const double scale = double(inputs) / outputs, stretch = std::max(scale, 1.0);
  const size_t out_line = step == 3 ? size_t(outputs) * 3 : 3;
  for (int i = 0; i < outputs; i++) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(0, int(centre - stretch + 0.5)), last = std::min(inputs, int(centre + stretch + 0.5));
    std::vector<double> weights;
    for (int k = first; k < last; k++) weights.push_back(std::max(0.0, 1 - std::abs((k - centre + 0.5) / stretch)));
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (double& weight : weights) weight = int(weight / total * (1 << 22) + 0.5);  // 22 bits, as Pillow has them
    for (int y = 0; y < lines; y++)
      for (int channel = 0; channel < 3; channel++) {
        int sum = 1 << 21;
        for (size_t k = 0; k < weights.size(); k++)
          sum += int(weights[k]) * from[size_t(y) * line + (first + k) * step + channel];
        out[y * out_line + size_t(i) * step + channel] = std::min(255, sum >> 22);
      }
  }
  return out;
}

// The network's input (3, S, S) from a picture.
std::vector<float> prepared(const Picture& picture, const json& how) {
  const int side = how["size"], area = side * side;
  const auto narrow = resized(picture.rgb, picture.width, side, picture.height, 3, picture.width * 3);
  const auto square = resized(narrow, picture.height, side, side, side * 3, 3);
  const std::vector<double> mean = how["mean"], deviation = how["std"];
  std::vector<float> values(3 * area);
  for (int channel = 0; channel < 3; channel++)
    for (int i = 0; i < area; i++)
      values[channel * area + i] = (square[3 * i + channel] / 255.0 - mean[channel]) / deviation[channel];
  return values;
}

// From the network's probabilities to label, set and questions, for the class shares that the bundle assumes.
json answer(const float* probabilities, const json& manifest, double sensitivity = 0.95) {
  const json &classes = manifest["classes"], &decision = manifest["decision"];
  Shares equal, here;  // by class: if all are equally frequent, and by default
  double all_equal = 0, all_here = 0;
  for (size_t i = 0; i < classes.size(); i++) {
    const std::string name = classes[i];
    all_equal += equal[name] = probabilities[i] / decision["reference"][name].get<double>();
    all_here += here[name] = equal[name] * decision["default"][name].get<double>();
  }
  for (auto& [name, share] : equal) share /= all_equal;
  for (auto& [name, share] : here) share /= all_here;
  const auto likeliest = [](const Shares& of, const json& among) {
    const auto rarer = [&](const json& one, const json& other) { return of.at(one) < of.at(other); };
    return *std::max_element(among.begin(), among.end(), rarer);
  };
  const auto share = [](const Shares& of, const json& question) {
    double yes = 0, all = 0;
    for (const json& name : question["positive"]) yes += of.at(name);
    for (const json& name : question["among"]) all += of.at(name);
    return all > 0 ? yes / all : 0;
  };
  const json label = likeliest(here, classes);
  std::set<std::string> fitting = {label};
  for (const std::string name : classes)
    if (equal[name] >= manifest["conformal"]["thresholds"][name]) fitting.insert(name);
  json findings;
  for (const json& question : decision["questions"]) {
    const json &positive = question["positive"], &points = question["points"];
    const double score = share(equal, question);
    // From its most sensitive point on, no scan is calmly called free of the positive classes.
    if (question["among"].size() == classes.size() && score >= points.back()["threshold"] &&
        std::none_of(positive.begin(), positive.end(), [&](const json& name) { return fitting.count(name); }))
      fitting.insert(likeliest(equal, positive));
    for (const json& point : points)
      if (point["aim"] == sensitivity) {
        const bool yes = score >= point["threshold"];
        findings[question["name"]] = {{"probability", share(here, question)}, {"positive", yes}};
      }
  }
  return {{"label", label}, {"probabilities", here}, {"set", fitting}, {"findings", findings}};
}

int main(int count, char** words) try {
  if (count < 3) throw std::runtime_error("usage: classify BUNDLE SCAN.ppm ...");
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);  // before its first use; later is too late
  const std::string bundle = words[1];
  std::ifstream file(bundle + "/manifest.json");
  if (!file) throw std::runtime_error(bundle + "/manifest.json: cannot be read; give the folder of a bundle");
  const json manifest = json::parse(file), how = manifest.at("preprocessing");
  if (how.at("resample") != "bilinear" || how.value("crop", "none") != "none" || manifest.contains("site"))
    throw std::runtime_error(bundle + ": crops, resizes or decides (adapted to a site) as this program cannot");
  Ort::Env env;
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, (bundle + "/model.onnx").c_str(), options);
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const char *inputs[] = {"input"}, *outputs[] = {"probabilities"};
  for (int i = 2; i < count; i++) {
    auto values = prepared(read_picture(words[i]), how);
    const int64_t shape[] = {1, 3, how["size"], how["size"]};
    auto tensor = Ort::Value::CreateTensor<float>(memory, values.data(), values.size(), shape, 4);
    auto found = session.Run(Ort::RunOptions{nullptr}, inputs, &tensor, 1, outputs, 1);
    std::cout << answer(found[0].GetTensorData<float>(), manifest) << std::endl;
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << std::endl;
  return 1;
}
