"""App: the routes of the REST interface as a Starlette application."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.errors import error_body
from gateway.routes import Stub, endpoints


class Gateway(Starlette):
    """Starlette behind a short cut for the calls of the exchange: they need no router and catch their own errors.

    Its router and middleware would take a sixth of the time of a test ping.
    """

    is_draining = False
    """Whether /healthz sends balancers elsewhere. Calls are taken all the same."""

    def __init__(self, stub: Stub) -> None:
        self.endpoints = endpoints(stub)
        super().__init__(
            routes=[
                *(Route(path, endpoint, methods=["POST"]) for path, endpoint in self.endpoints.items()),
                Route("/healthz", _healthz, methods=["GET"]),
            ],
            exception_handlers={404: _not_found, 405: _method_not_allowed},
        )
        self.router.redirect_slashes = False  # /ping/ is an unknown path, not a redirect that loses the body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        endpoint = self.endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is not None and scope["method"] == "POST":
            await endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(stub: Stub) -> Gateway:
    """The gateway in front of `stub`: a channel's, or its twin in the same process."""
    return Gateway(stub)


async def _healthz(request: Request) -> Response:
    if request.app.is_draining:
        return Response(b'{"status":"draining"}', 503, media_type="application/json")
    return Response(b'{"status":"ok"}', media_type="application/json")


async def _not_found(request: Request, _: Exception) -> Response:
    message = f"nothing at {request.url.path}: expected /ping, /post or /direct_post"
    return Response(error_body("not_found", message), 404, media_type="application/json")


async def _method_not_allowed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    message = f"{request.method} is not allowed here: expected {headers.get('Allow', 'another method')}"
    return Response(error_body("method_not_allowed", message), 405, headers, media_type="application/json")
