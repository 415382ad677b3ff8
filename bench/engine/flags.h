#pragma once

#include <string>

#include "CLI/CLI.hpp"

namespace concertina::bench {

// What every program that calls the engine directly is told.
struct EngineFlags {
  std::string model = CONCERTINA_SOURCE_DIR "/.models/SmolLM2-135M-Instruct.Q4_1.gguf";
  std::string text = CONCERTINA_SOURCE_DIR "/LICENSE";
  std::string weights = "auto";
  int threads = 2;

  void AddTo(CLI::App& app) {
    app.add_option("--model", model, "a .gguf file or a Hugging Face folder");
    app.add_option("--text", text, "file that prompts are cut from");
    app.add_option("--weights", weights, "auto, or the type of all matrices");
    app.add_option("--threads", threads, "compute threads")->check(CLI::PositiveNumber);
  }
};

}  // namespace concertina::bench
