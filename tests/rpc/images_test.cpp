// Pictures: inline, uploaded, bad, too large.

#include <thread>

#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

using grpc::StatusCode;

constexpr char kImages[] = CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny/images/";
constexpr size_t kChunk = 60 << 10;

class ImagesTest : public ServerTest {
 protected:
  grpc::Status Upload(const std::string& file, v1::UploadImageResponse* response,
                      size_t chunk = kChunk) {
    grpc::ClientContext context;
    const auto writer = stub().UploadImage(&context, response);
    for (size_t begin = 0; begin < file.size(); begin += chunk) {
      v1::UploadImageRequest request;
      request.set_chunk(file.substr(begin, chunk));
      if (!writer->Write(request)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

  Turn Ask(const std::function<void(v1::Image*)>& picture) {
    v1::OpenSessionRequest open;
    open.mutable_policy()->set_name("full");
    v1::GenerateRequest request = TextTurn(OpenOrDie(stub(), open), "What is it?", 8);
    request.set_ignore_eos(true);
    picture(request.add_parts()->mutable_image());
    return RunTurn(stub(), request);
  }

  void ExpectField(const grpc::Status& status, const std::string& field) {
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_EQ(DetailsOf(status).field, field);
    for (const char* leak : {"/usr", "/build", ".cpp", "OpenCV", "0x"}) {
      EXPECT_EQ(status.error_message().find(leak), std::string::npos) << status.error_message();
    }
  }
};

TEST_F(ImagesTest, ReferencesAnswerAsThePictureDoes) {
  StartServer();
  const std::string file = ReadFileOrDie(std::string(kImages) + "photo_150x90.jpg");
  v1::UploadImageResponse uploaded;
  // Small pieces: the file comes together again.
  ASSERT_TRUE(Upload(file, &uploaded, 100).ok());
  EXPECT_EQ(uploaded.bytes(), static_cast<int64_t>(file.size()));
  EXPECT_EQ(uploaded.width(), 150);
  EXPECT_EQ(uploaded.height(), 90);
  EXPECT_EQ(uploaded.sha256().size(), 64U);
  EXPECT_GT(Metric("image_cache_bytes"), static_cast<double>(file.size()));
  const Turn by_reference = Ask([&](v1::Image* image) { image->set_sha256(uploaded.sha256()); });
  ASSERT_TRUE(by_reference.status.ok()) << by_reference.status.error_message();
  StartServer();  // with an empty store
  const Turn in_place = Ask([&](v1::Image* image) { image->set_data(file); });
  ASSERT_TRUE(in_place.status.ok());
  EXPECT_EQ(by_reference.token_ids, in_place.token_ids);
  EXPECT_EQ(Metric("image_decode_seconds_count"), 1);
}

TEST_F(ImagesTest, EveryFormatOfTheGoldensIsTaken) {
  StartServer();
  for (const char* name : {"exif6_90x60.jpg", "gray_50x90.png", "pal_61x77.png", "rgba_70x70.png",
                           "tiny_20x30.png", "wide_200x40.png"}) {
    v1::UploadImageResponse uploaded;
    EXPECT_TRUE(Upload(ReadFileOrDie(std::string(kImages) + name), &uploaded).ok()) << name;
  }
}

TEST_F(ImagesTest, UnknownReference) {
  StartServer();
  const Turn turn = Ask([](v1::Image* image) { image->set_sha256(std::string(64, 'a')); });
  EXPECT_EQ(turn.status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(DetailsOf(turn.status).reason, "IMAGE_NOT_FOUND");
}

TEST_F(ImagesTest, BadPicturesAreRefusedAtTheirField) {
  StartServer();
  const std::string jpeg = ReadFileOrDie(std::string(kImages) + "photo_150x90.jpg");
  const std::string png = ReadFileOrDie(std::string(kImages) + "rgb_64x48.png");
  std::string broken = png;
  for (size_t i = broken.size() / 2; i < broken.size() / 2 + 40; ++i) broken[i] = '\x5a';
  for (const std::string& bad :
       {std::string("not a picture"), std::string("GIF89a") + std::string(40, '\0'),
        jpeg.substr(0, jpeg.size() / 3), png.substr(0, png.size() - 8), broken}) {
    ExpectField(Ask([&](v1::Image* image) { image->set_data(bad); }).status, "parts[1].image.data");
    v1::UploadImageResponse uploaded;
    ExpectField(Upload(bad, &uploaded), "chunk");
  }
}

TEST_F(ImagesTest, UploadsAreBounded) {
  StartServer();
  v1::UploadImageResponse uploaded;
  ExpectField(Upload("", &uploaded), "chunk");
  ExpectField(Upload(std::string(kChunk + 1, 'x'), &uploaded, kChunk + 1), "chunk");
  const grpc::Status too_large = Upload(std::string((8 << 20) + 1, 'x'), &uploaded);
  ExpectField(too_large, "chunk");
  EXPECT_NE(too_large.error_message().find("8388608"), std::string::npos)
      << too_large.error_message();
}

TEST_F(ImagesTest, AnUploadThatStopsIsLetGo) {
  StartServer(
      [](ServerConfig& config) { config.limits.stall_timeout = std::chrono::milliseconds(1000); });
  grpc::ClientContext context;
  v1::UploadImageResponse uploaded;
  const auto writer = stub().UploadImage(&context, &uploaded);
  v1::UploadImageRequest request;
  request.set_chunk("the beginning");
  ASSERT_TRUE(writer->Write(request));
  EXPECT_EQ(writer->Finish().error_code(), StatusCode::CANCELLED);
  // The client hears of the end before the server's handler is done.
  EXPECT_TRUE(Eventually([&] { return server().runtime().rpc().calls_in_flight() == 0; }));
}

TEST_F(ImagesTest, PicturesAreForgottenNotTheServersMemory) {
  StartServer([](ServerConfig& config) { config.limits.image_store_bytes = 40'000; });
  std::string first;
  for (const char* name :
       {"rgb_64x48.png", "photo_150x90.jpg", "rgba_70x70.png", "wide_200x40.png"}) {
    v1::UploadImageResponse uploaded;
    ASSERT_TRUE(Upload(ReadFileOrDie(std::string(kImages) + name), &uploaded).ok()) << name;
    if (first.empty()) first = uploaded.sha256();
  }
  EXPECT_LE(Metric("image_cache_bytes"), 40'000);
}

}  // namespace
}  // namespace concertina::testing
