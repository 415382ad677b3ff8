// Compares the production code with a folder of reference values (tests/goldens/README.md).
// Exit status: 0 when everything compared passes, 1 when something fails or nothing was compared,
// 2 when the folder or its model cannot be read.
#include <CLI/CLI.hpp>
#include <iostream>

#include "models/kernels/parallel.h"
#include "tests/golden/folder_checks.h"

namespace concertina::testing {
namespace {

absl::Status Check(const InstalledModels& models, GoldenFolder* folder, Report* report) {
  switch (folder->kind()) {
    case FolderKind::kCheckpoint:
      return CheckCheckpoint(folder, report);
    case FolderKind::kInstalledText:
      return CheckInstalledText(models, folder, report);
    case FolderKind::kBundledModel:
      return CheckBundledModel(models, folder, report);
    case FolderKind::kPreprocessing:
      return CheckPreprocessing(folder, report);
    case FolderKind::kElastic:
      return CheckElastic(folder, report);
  }
  return absl::InternalError("unknown kind of folder");
}

int Run(const std::string& path, const InstalledModels& models) {
  auto folder = GoldenFolder::Open(path);
  if (!folder.ok()) {
    std::cerr << path << ": " << folder.status() << "\n";
    return 2;
  }
  SetThreads(2);
  Report report(std::cout);
  if (const absl::Status status = Check(models, &*folder, &report); !status.ok()) {
    std::cerr << path << ": " << status << "\n";
    return 2;
  }
  folder->ReportUnused(&report);
  return report.Finish(path) ? 0 : 1;
}

}  // namespace
}  // namespace concertina::testing

int main(int argc, char** argv) {
  CLI::App app("Compares Concertina with a folder of reference values.");
  std::string folder;
  concertina::testing::InstalledModels models;
  models.vision = CONCERTINA_SOURCE_DIR "/models/bundled/smollm2-135m-vision";
  app.add_option("folder", folder, "Folder with cases.json and golden.safetensors")->required();
  app.add_option("--gguf", models.gguf, "GGUF model to try first");
  app.add_option("--models", models.directory, "Folder of GGUF models to try");
  app.add_option("--vision", models.vision, "Vision folder of the bundled model");
  CLI11_PARSE(app, argc, argv);
  try {
    return concertina::testing::Run(folder, models);
  } catch (const nlohmann::json::exception& error) {
    std::cerr << folder << "/cases.json: " << error.what() << "\n";
    return 2;
  }
}
