"""Layers of the source tree: includes go downwards only."""

# Most specific first. What each room may include of ours; tests and bench may include everything.
LAYERS = (
    ("cache/", ("cache/",)),
    ("models/", ("cache/", "models/")),
    ("server/engine/", ("cache/", "models/", "server/engine/")),
    ("server/images/", ("cache/", "models/", "server/engine/", "server/images/")),
    ("server/metrics/", ("cache/", "models/", "server/engine/", "server/metrics/")),
    ("server/rpc/", ("cache/", "models/", "server/engine/", "server/images/", "server/metrics/",
                     "server/rpc/", "concertina/")),
    ("server/", ("cache/", "models/", "server/", "concertina/")),
    ("client/", ("client/", "concertina/")),
)
OURS = ("cache/", "models/", "server/", "client/", "tests/", "bench/", "tools/", "proto/",
        "concertina/")
REMOTE = ("grpc/", "grpcpp/", "google/protobuf/", "google/rpc/", "concertina/v1/")
REMOTE_ROOMS = ("server/rpc/", "server/app/", "client/", "tests/", "bench/")


def check_includes(path, found):
    """Messages about the includes, (line, name), of the file at path."""
    messages = []
    allowed = next((below for layer, below in LAYERS if path.startswith(layer)), None)
    for line, name in found:
        if allowed is not None and name.startswith(OURS) and not name.startswith(allowed):
            messages.append(f"{path}:{line}: includes {name}, which is not below it")
        elif name.startswith(REMOTE) and not path.startswith(REMOTE_ROOMS):
            messages.append(f"{path}:{line}: includes {name}; gRPC and Protobuf belong to "
                            + ", ".join(room.rstrip("/") for room in REMOTE_ROOMS))
        elif name.startswith("../") or "/../" in name:
            messages.append(f"{path}:{line}: includes {name}; name it from the repository's root")
    return messages
