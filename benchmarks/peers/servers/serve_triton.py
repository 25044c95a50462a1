"""Triton Inference Server through PyTriton: `python serve_triton.py PORT`.

The wheel brings Triton with its Python backend alone; ONNX Runtime therefore runs in this process, behind Triton's HTTP
server and dynamic batcher.
"""

import os
import signal
import sys
import sysconfig

import numpy as np
from numpy.typing import NDArray
from peers.servers.released import Order, Released
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from synspect.lifeline import end_with_parent

FIELDS = {"level": bytes, "pattern": bytes, "count": np.int64, "seed": np.int64, "start": np.int64}


class Slices:
    """Orders that wait together, 32 at most, share the runs of the graph."""

    def __init__(self) -> None:
        self.released = Released()

    @batch
    def __call__(self, **fields: NDArray) -> dict[str, NDArray]:
        """Make the slices of n orders, each field (n, 1); npz is (n, 1)."""
        rows = zip(*(fields[name][:, 0].tolist() for name in FIELDS), strict=True)
        orders = [Order.model_validate(dict(zip(FIELDS, row, strict=True))) for row in rows]
        return {"npz": np.array(self.released.answer_all(orders), dtype=object)[:, None]}


def main(port: int) -> None:
    end_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # else Triton is not stopped with this process
    # Triton's stub loads libpython by name: it must be that of this interpreter, not of another one of this machine.
    library = [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")]
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, library))
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False, exit_timeout_secs=5
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="slices",
            infer_func=Slices(),
            inputs=[Tensor(name=name, dtype=kind, shape=(1,)) for name, kind in FIELDS.items()],
            outputs=[Tensor(name="npz", dtype=bytes, shape=(1,))],
            config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher(max_queue_delay_microseconds=5000)),
        )
        triton.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
