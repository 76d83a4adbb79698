"""A BentoML service that does nothing: what the framework itself takes."""

import os

import bentoml


@bentoml.service(workers=int(os.environ["WORKERS"]), logging={"access": {"enabled": False}})
class Service:
    @bentoml.api
    async def nothing(self) -> str:
        return ""
