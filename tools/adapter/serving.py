"""Conversations over gRPC with a concertina-server of our own or with another."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools/quality"))

from server_process import Server  # noqa: E402

BUNDLED_VISION = ROOT / "models/bundled/smollm2-135m-vision"
UNITS = dict(B=1, KiB=2 ** 10, MiB=2 ** 20, GiB=2 ** 30)


def _stubs():
    """The generated modules of proto/, made anew: they are small."""
    folder = ROOT / "build/python"
    folder.mkdir(parents=True, exist_ok=True)
    protos = [str(path.relative_to(ROOT / "proto")) for path in sorted((ROOT / "proto").rglob("*.proto"))]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto"), f"--python_out={folder}",
                    f"--grpc_python_out={folder}", *protos], check=True)
    sys.path.insert(0, str(folder))
    from concertina.v1 import inference_service_pb2, inference_service_pb2_grpc
    return inference_service_pb2, inference_service_pb2_grpc


def budget_of(text):
    """"0.2", "256t" or "64MiB", as the server's own flag, as fields of a Budget."""
    if text.endswith("t"):
        return dict(tokens=int(text[:-1]))
    if found := re.fullmatch(r"(\d+)(B|KiB|MiB|GiB)", text):
        return dict(bytes=int(found[1]) * UNITS[found[2]])
    return dict(ratio=float(text))


class Client:
    """Thread-safe. `policy` and `budget` are those of every conversation; empty means the server's."""

    def __init__(self, target, policy="full", budget="", pure_sink=False):
        import grpc
        self.api, service = _stubs()
        self.stub = service.InferenceServiceStub(grpc.insecure_channel(target))
        self.opening = self.api.OpenSessionRequest(policy=dict(name=policy, pure_sink=pure_sink))
        if budget:
            self.opening.budget.CopyFrom(self.opening.budget.__class__(**budget_of(budget)))

    def model(self):
        return self.stub.GetModel(self.api.GetModelRequest(), timeout=60)

    def converse(self, pictures, questions, tokens=128):
        """Answers (text, cache state) in one new session; `pictures`: encoded files, all in the first message."""
        session = self.stub.OpenSession(self.opening, timeout=60).session.session_id
        try:
            return [self._ask(session, pictures if turn == 0 else [], question, tokens)
                    for turn, question in enumerate(questions)]
        finally:
            self.stub.CloseSession(self.api.CloseSessionRequest(session_id=session), timeout=60)

    def _ask(self, session, pictures, question, tokens):
        request = self.api.GenerateRequest(session_id=session, max_tokens=tokens)
        for picture in pictures:
            request.parts.add(image=dict(data=picture))
        request.parts.add(text=question)
        text, cache = [], None
        for event in self.stub.Generate(request, timeout=600):
            text.append(event.delta.text)  # "" in all events but Delta
            if event.HasField("completed"):
                cache = event.completed.cache
        return "".join(text), cache

    def score(self, prompt, continuation):
        """Log-probabilities of a continuation's tokens."""
        request = self.api.ScoreRequest(prompt=dict(text=prompt), continuation=dict(text=continuation),
                                        policy=self.opening.policy)
        return list(self.stub.Score(request, timeout=600).logprobs)


def server_arguments(parser):
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help="build folder of the server")
    parser.add_argument("--vision", help="adapter's folder; default: the bundled one")
    parser.add_argument("--server-flags", default="", help="more flags of the server, in one argument")


def server_of(args, *more):
    """What server_arguments asks for; `more`: flags."""
    vision = ["--vision", str(args.vision)] if args.vision else []
    return Server(args.build, [*args.server_flags.split(), *more, *vision])
