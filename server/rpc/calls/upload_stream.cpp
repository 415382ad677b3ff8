#include "server/rpc/calls/upload_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

constexpr int64_t kRetryAfterMs = 1000;

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* UploadStream::Start(RpcEnvironment& env,
                                                               grpc::CallbackServerContext* context,
                                                               grpc::ByteBuffer* response) {
  const std::shared_ptr<UploadStream> stream(new UploadStream(env, *context, *response));
  stream->self_ = stream;
  const absl::Status status = Guarded([&] { return stream->Begin(); });
  if (!status.ok()) {
    stream->End(status);
  } else {
    env.stalls.Watch(stream);
    stream->Read();
  }
  return stream.get();
}

UploadStream::UploadStream(RpcEnvironment& env, grpc::CallbackServerContext& context,
                           grpc::ByteBuffer& response)
    : env_(env),
      call_(env, "UploadImage", context),
      context_(context),
      response_(response),
      uploads_at_arrival_(env.uploads.fetch_add(1)) {}

absl::Status UploadStream::Begin() {
  if (auto s = call_.Admit(); !s.ok()) return s;
  if (auto id = call_.SessionId(""); !id.ok()) return id.status();
  if (uploads_at_arrival_ >= env_.limits.max_uploads) {
    return RetryLater("UPLOAD_LIMIT", "too many uploads in flight", kRetryAfterMs);
  }
  return env_.images.CheckVision();
}

void UploadStream::Read() {
  {
    const std::lock_guard lock(mutex_);
    reading_ = true;
    read_started_ = std::chrono::steady_clock::now();
  }
  StartRead(&request_);
}

void UploadStream::OnReadDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    reading_ = false;
  }
  if (!ok && context_.IsCancelled()) return End(call_.CancelStatus());
  const absl::Status status = Guarded([&] { return ok ? Append() : Store(); });
  if (ok && status.ok()) return Read();
  End(status);
}

absl::Status UploadStream::Append() {
  const RpcLimits& limits = env_.limits;
  v1::UploadImageRequest request;
  if (auto s = call_.Parse(&request_, limits.small_message_bytes, &request); !s.ok()) return s;
  const std::string& chunk = request.chunk();
  if (static_cast<int64_t>(chunk.size()) > limits.upload_chunk_bytes) {
    return FieldError(
        "chunk", absl::StrCat("must not be larger than ", limits.upload_chunk_bytes, " bytes"));
  }
  if (static_cast<int64_t>(file_.size() + chunk.size()) > limits.images.max_bytes) {
    return FieldError("chunk", absl::StrCat("the file must not be larger than ",
                                            limits.images.max_bytes, " bytes"));
  }
  file_.append(chunk);
  return absl::OkStatus();
}

absl::Status UploadStream::Store() {
  if (file_.empty()) return FieldError("chunk", "the file must not be empty");
  auto uploaded = env_.images.Upload(std::move(file_), "chunk");
  if (!uploaded.ok()) return uploaded.status();
  v1::UploadImageResponse response;
  response.set_sha256(uploaded->sha256);
  response.set_bytes(uploaded->bytes);
  response.set_width(uploaded->width);
  response.set_height(uploaded->height);
  response_ = Serialize(response);
  return absl::OkStatus();
}

void UploadStream::End(const absl::Status& status) {
  env_.uploads.fetch_sub(1);
  Finish(call_.Finish(status));
}

void UploadStream::OnDone() { self_.reset(); }

void UploadStream::CheckStall(std::chrono::steady_clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (!reading_ || now - read_started_ < env_.limits.stall_timeout) return;
  reading_ = false;
  env_.metrics.OnRejected("CLIENT_STALLED");
  // The read outstanding keeps the call, and so the context, alive until it fails.
  context_.TryCancel();
}

}  // namespace concertina
