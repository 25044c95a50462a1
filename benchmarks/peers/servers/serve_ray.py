"""Ray Serve: `python serve_ray.py PORT`."""

import asyncio
import os
import sys
import threading

import ray
from peers.servers.released import Order, Released
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response

from synspect.lifeline import end_with_parent


# One core in numbers; twice a batch may be on its way, the rest waits in the proxy, which refuses nothing by itself.
@serve.deployment(num_replicas=1, max_ongoing_requests=64, ray_actor_options={"num_cpus": 1})
class Slices:
    """Orders that arrive within 5 ms, 32 at most, share the runs of the graph."""

    def __init__(self) -> None:
        self.released = Released()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def answer(self, orders: list[Order]) -> list[bytes]:
        """Make the slices of all of them, off the event loop."""
        return await asyncio.to_thread(self.released.answer_all, orders)

    async def __call__(self, request: Request) -> Response:
        """Answer one order."""
        order = Order.model_validate_json(await request.body())
        return Response(await self.answer(order), media_type="application/x-npz")


def main() -> None:
    end_with_parent()
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    ray.init(
        num_cpus=2,  # of the replica and of Serve itself, whatever the cores
        object_store_memory=128 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=os.environ["PEER_SCRATCH"],
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config=quiet)
    serve.run(Slices.bind(), route_prefix="/v1/slices", logging_config=quiet)
    threading.Event().wait()


if __name__ == "__main__":
    main()
