"""LitServe: `python serve_litserve.py PORT`."""

import sys

import litserve
from fastapi import Response
from peers.servers.released import Order, Released

from synspect.lifeline import end_with_parent


class Slices(litserve.LitAPI):
    """Orders that arrive within 5 ms, 32 at most, share the runs of the graph."""

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        del device
        self.released = Released()

    def decode_request(self, request: dict[str, object]) -> Order:
        """Check what was asked."""
        return Order.model_validate(request)

    def batch(self, inputs: list[Order]) -> list[Order]:
        """Keep orders apart: each has a count of its own."""
        return inputs

    def predict(self, orders: list[Order]) -> list[bytes]:
        """Make the slices of all of them."""
        return self.released.answer_all(orders)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """Return one answer an order."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """Send bytes, not JSON."""
        return Response(output, media_type="application/x-npz")


if __name__ == "__main__":
    end_with_parent()
    # Without a batch timeout the worker would never sleep; 120 s is the deadline of the service.
    api = Slices(max_batch_size=32, batch_timeout=0.005, api_path="/v1/slices")
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1, timeout=120, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
