"""Plain FastAPI and ONNX Runtime: `python serve_fastapi.py PORT`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import uvicorn
from fastapi import FastAPI, Request, Response
from peers.servers.released import Order, Released

from spect.cores import count_cores
from synspect.lifeline import end_with_parent


@asynccontextmanager
async def open_model(app: FastAPI) -> AsyncIterator[None]:
    """Load the model once; one request a core at a time, or forty threads would share one core."""
    app.state.released = Released()
    anyio.to_thread.current_default_thread_limiter().total_tokens = count_cores()
    yield


app = FastAPI(lifespan=open_model)


@app.post("/v1/slices")
def post_slices(order: Order, request: Request) -> Response:
    """Answer on a thread: the event loop stays free."""
    return Response(request.app.state.released.answer(order), media_type="application/x-npz")


if __name__ == "__main__":
    end_with_parent()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
