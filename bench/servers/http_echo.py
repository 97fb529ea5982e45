"""A bare Starlette application on uvicorn (httptools, uvloop) that sends a body back: what REST is divided by."""

import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def echo(request: Request) -> Response:
    """Answer with the request's body."""
    return Response(await request.body(), media_type="application/json")


def main() -> None:
    """Serve until SIGTERM."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    app = Starlette(routes=[Route("/ping", echo, methods=["POST"])])
    config = uvicorn.Config(app, http="httptools", loop="uvloop", access_log=False, log_level="warning")
    print(f"ready http=127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
