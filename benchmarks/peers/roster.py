"""Who is compared, and how each is set; one row a peer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

OURS = "synspect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server of the same graph, as someone who knows its framework would set it up for these requests."""

    name: str
    setting: str  # one line, told beside the figures
    script: str = ""  # in peers/servers; ours has none
    requirements: str = "requirements.txt"
    dialect: str = "slices"
    prepares: bool = False  # runs `SCRIPT save` once, outside its start
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


PEERS = (
    Peer(name=OURS, setting="defaults: 1 worker, runs shared by all requests, nobody waits more than 1.5 s for others"),
    Peer(
        name="fastapi",
        script="serve_fastapi.py",
        setting="1 uvicorn worker, no batching, as many requests at a time as cores",
    ),
    Peer(
        name="litserve",
        script="serve_litserve.py",
        setting="1 worker, batches of 32 requests or 5 ms, ZeroMQ queue, raw bytes, timeout 120 s",
    ),
    Peer(
        name="ray",
        script="serve_ray.py",
        setting="1 replica, @serve.batch of 32 requests or 5 ms, 64 requests on their way, no dashboard",
        environment=MappingProxyType({"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "150"}),
    ),
    Peer(
        name="mlflow",
        script="serve_mlflow.py",
        setting="`mlflow models serve`, pyfunc, 1 worker, no batching (it has none), npz as base64 in JSON",
        dialect="mlflow",
        prepares=True,
        environment=MappingProxyType({"MLFLOW_DISABLE_TELEMETRY": "true"}),
    ),
    Peer(
        name="triton",
        script="serve_triton.py",
        setting="PyTriton: dynamic batches of 32 requests or 5 ms, binary tensors; ONNX Runtime in its Python backend",
        requirements="requirements-triton.txt",
        dialect="triton",
    ),
)
