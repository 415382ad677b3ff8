#include "tests/hostile/model_reading.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "models/bundle/loaders.h"
#include "models/config/json_file.h"
#include "models/language/language_config.h"
#include "models/weights/safetensors.h"
#include "tests/models/weights/test_files.h"

namespace concertina::testing {
namespace {

using Json = nlohmann::json;

std::string FileBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Every tensor lies inside the file, has a name of its own, and f32 values are the file's.
void ExpectTrueTensors(const TensorSource& source, const std::string& bytes) {
  std::set<std::string> names;
  for (const TensorInfo& tensor : source.tensors()) {
    EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
    EXPECT_LE(tensor.offset, bytes.size()) << tensor.name;
    EXPECT_LE(tensor.bytes, bytes.size() - tensor.offset) << tensor.name;
    if (tensor.dtype == DType::kOther) continue;
    const auto values = ReadAll(source, tensor.name, tensor.shape);
    ASSERT_TRUE(values.ok()) << tensor.name << values.status();
    if (tensor.dtype != DType::kF32 || tensor.bytes == 0) continue;
    ASSERT_EQ(values->size() * sizeof(float), tensor.bytes) << tensor.name;
    EXPECT_EQ(std::memcmp(values->data(), bytes.data() + tensor.offset, tensor.bytes), 0);
  }
}

// Texts survive the way to ids and back, and no id is outside the vocabulary.
void ExpectSoundTokenizer(const Tokenizer& tokenizer) {
  for (const char* text : {"", "Hello, world!", "<image></s> \xff\xe4 \n\n 12345"}) {
    for (const TokenId id : tokenizer.Encode(text, Tokenizer::Special::kInert)) {
      EXPECT_GE(id, 0);
      EXPECT_LT(id, tokenizer.vocab_size());
    }
    const std::vector<TokenId> ids = tokenizer.Encode(text, Tokenizer::Special::kParse);
    static_cast<void>(tokenizer.Decode(ids, true));
  }
}

// The configuration says what the file says, where the file says it.
void ExpectTrueConfig(const LanguageConfig& config, const Json& text) {
  const std::pair<const char*, int64_t> fields[] = {
      {"num_hidden_layers", config.layers},
      {"hidden_size", config.hidden},
      {"intermediate_size", config.intermediate},
      {"num_attention_heads", config.heads},
      {"num_key_value_heads", config.kv_heads},
      {"head_dim", config.head_dim},
      {"vocab_size", config.vocab},
      {"max_position_embeddings", config.max_positions}};
  for (const auto& [name, value] : fields) {
    const auto field = text.find(name);
    if (field != text.end() && !field->is_null()) {
      EXPECT_EQ(*field, value) << name;
    }
  }
}

}  // namespace

absl::Status ReadGguf(const std::string& path) {
  const auto file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  ExpectTrueTensors(**file, FileBytes(path));
  const auto config = LanguageConfigFromGguf(**file);
  if (!config.ok()) return config.status();
  EXPECT_EQ((*file)->GetUint("llama.block_count"), static_cast<uint64_t>(config->layers));
  const auto vocabulary = ReadGgufVocabulary(**file);
  if (!vocabulary.ok()) return vocabulary.status();
  const auto tokenizer = MakeTokenizer(*vocabulary);
  if (!tokenizer.ok()) return tokenizer.status();
  EXPECT_EQ(static_cast<size_t>((*tokenizer)->vocab_size()), vocabulary->tokens.size());
  ExpectSoundTokenizer(**tokenizer);
  return absl::OkStatus();
}

absl::Status ReadSafetensors(const std::string& path) {
  const auto file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  const std::string bytes = FileBytes(path);
  ExpectTrueTensors(**file, bytes);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const Json json = Json::parse(bytes.substr(sizeof(header), header));
  uint64_t covered = 0;
  for (const TensorInfo& tensor : (*file)->tensors()) {
    covered += tensor.bytes;
    EXPECT_EQ(json.at(tensor.name).at("shape"), Json(tensor.shape)) << tensor.name;
  }
  EXPECT_EQ((*file)->tensors().size(), json.size() - json.count("__metadata__"));
  EXPECT_EQ(covered + header + sizeof(header), bytes.size());
  return absl::OkStatus();
}

absl::Status ReadIndex(const std::string& folder) {
  const auto source = OpenSafetensors(folder);
  if (!source.ok()) return source.status();
  const auto json = ReadJsonFile(folder + "/model.safetensors.index.json");
  EXPECT_TRUE(json.ok());
  if (!json.ok()) return json.status();
  EXPECT_EQ((*source)->tensors().size(), json->at("weight_map").size());
  for (const auto& [name, file] : json->at("weight_map").items()) {
    const TensorInfo* tensor = (*source)->Find(name);
    EXPECT_NE(tensor, nullptr) << name;
    const auto shard = SafetensorsFile::Open(folder + "/" + file.get<std::string>());
    if (tensor == nullptr || !shard.ok()) continue;
    EXPECT_EQ(*ReadAll(**source, name, tensor->shape), *ReadAll(**shard, name, tensor->shape));
  }
  return absl::OkStatus();
}

absl::Status ReadModelFolder(const std::string& folder) {
  const auto model = LoadModel({.path = folder});
  if (!model.ok()) return model.status();
  const auto config = ReadJsonFile(folder + "/config.json");
  const auto preprocessor = ReadJsonFile(folder + "/preprocessor_config.json");
  EXPECT_TRUE(config.ok() && preprocessor.ok());
  if (!config.ok() || !preprocessor.ok()) return absl::InternalError("unread files");
  ExpectTrueConfig((*model)->language->config(), config->value("text_config", *config));
  const PreprocessConfig& preprocess = (*model)->preprocess;
  EXPECT_EQ(preprocess.crop_height, 56);  // what the tower takes
  EXPECT_EQ(preprocess.crop_width, 56);
  const auto factor = preprocessor->find("rescale_factor");
  if (factor != preprocessor->end() && factor->is_number()) {
    EXPECT_EQ(*factor, preprocess.rescale_factor);
  }
  return absl::OkStatus();
}

absl::Status ReadTokenizer(const std::string& folder) {
  const auto text = ReadTextFile(folder + "/tokenizer.json");
  if (!text.ok()) return text.status();
  const auto tokenizer = LoadTokenizerJson(*text);
  if (!tokenizer.ok()) return tokenizer.status();
  const Json json = Json::parse(*text);
  for (const auto& [piece, id] : json.at("model").at("vocab").items()) {
    EXPECT_EQ((*tokenizer)->Find(piece), id.get<TokenId>()) << piece;
  }
  ExpectSoundTokenizer(**tokenizer);
  return absl::OkStatus();
}

std::string SmallModelGguf() {
  GgufBuilder builder;
  builder.AddString("general.architecture", "llama");
  builder.AddUint32("llama.block_count", 2);
  builder.AddUint32("llama.embedding_length", 8);
  builder.AddUint32("llama.feed_forward_length", 16);
  builder.AddUint32("llama.attention.head_count", 2);
  builder.AddUint32("llama.attention.head_count_kv", 1);
  builder.AddUint32("llama.context_length", 64);
  std::string number;
  Append(number, 1e-5F);
  builder.AddRaw("llama.attention.layer_norm_rms_epsilon", 6, number);
  std::string tokens = GgufText("<unk>") + GgufText("<s>") + GgufText("</s>");
  std::string types;
  std::string scores;
  AppendAll<int32_t>(types, {2, 3, 3});
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    tokens += GgufText(std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">");
    Append<int32_t>(types, 6);
  }
  for (int i = 0; i < 259; ++i) Append(scores, -1.0F * static_cast<float>(i));
  builder.AddString("tokenizer.ggml.model", "llama");
  builder.AddRaw("tokenizer.ggml.tokens", 9, GgufArray(8, 259, tokens));
  builder.AddRaw("tokenizer.ggml.token_type", 9, GgufArray(5, 259, types));
  builder.AddRaw("tokenizer.ggml.scores", 9, GgufArray(6, 259, scores));
  builder.AddUint32("tokenizer.ggml.bos_token_id", 1);
  builder.AddUint32("tokenizer.ggml.eos_token_id", 2);
  builder.AddUint32("tokenizer.ggml.unknown_token_id", 0);
  builder.AddTensor("token_embd.weight", {8, 259}, 0, 0);
  builder.AddTensor("output_norm.weight", {8}, 0, 8288);
  std::string data;
  for (int i = 0; i < 259 * 8 + 8; ++i) Append(data, static_cast<float>(i));
  return builder.Build(data);
}

}  // namespace concertina::testing
