"""GET /openapi.json, and /docs: the same to read and to try in a browser."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..openapi import load_openapi

# Swagger UI's own files come with BentoML, which serves them at this address; nothing is fetched from elsewhere.
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
  validatorUrl: null,  // it would be asked over the network
});
"""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


async def openapi(request: Request) -> JSONResponse:
    return JSONResponse(load_openapi(request.app.state.settings))


async def docs(request: Request) -> Response:
    return Response(PAGE, media_type="text/html", headers=HEADERS)


async def script(request: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript", headers=HEADERS)


routes = [Route("/openapi.json", openapi), Route("/docs", docs), Route("/docs.js", script, include_in_schema=False)]
