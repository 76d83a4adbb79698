"""GET /openapi.json: the description of the service. GET /docs: the same to read and to try in a browser."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..openapi import load_openapi

# BentoML ships the files of Swagger UI and serves them at this path. Nothing is fetched from another host.
SWAGGER = "/static_content/swagger-ui"
PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cnnzoo: the API</title>
<link rel="icon" href="/page/favicon.svg">
<link rel="stylesheet" href="{SWAGGER}.css">
<main id="swagger"></main>
<script src="{SWAGGER}-bundle.js"></script>
<script src="/docs.js"></script>
</html>
"""
SCRIPT = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,  // its default is a service on the internet
});
"""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


async def openapi(request: Request) -> JSONResponse:
    """Return the description. It is parsed once, since that takes 90 ms."""
    state = request.app.state
    if not hasattr(state, "openapi"):
        state.openapi = load_openapi(state.settings)
    return JSONResponse(state.openapi)


async def docs(request: Request) -> Response:
    """Return the page with Swagger UI."""
    return Response(PAGE, media_type="text/html", headers=HEADERS)


async def script(request: Request) -> Response:
    """Return the page's script. The page's policy allows no inline script."""
    return Response(SCRIPT, media_type="text/javascript", headers=HEADERS)


routes = [Route("/openapi.json", openapi), Route("/docs", docs), Route("/docs.js", script, include_in_schema=False)]
