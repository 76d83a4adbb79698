"""Settings of the service: environment variables CNNZOO_…, read and checked once at the start."""

import ipaddress
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ..contract.images import MAX_PIXELS, PILLOW_MAX_PIXELS
from ..contract.machine import cores
from ..contract.names import did_you_mean
from ..contract.zoo_folder import SHIPPED
from .limits import MAX_IMAGES

OTHER_VARIABLES = {
    "CNNZOO_DATA",
    "CNNZOO_CACHE",
    "CNNZOO_DEBUG",
    "CNNZOO_METRICS_FOLDER",
}  # of training, and of the service's own


def address_of(host: str, port: int) -> str:
    """Return HOST:PORT, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class ServeSettings(BaseSettings):
    """Settings. Each field is the environment variable CNNZOO_<FIELD>; docs/service.md has its description."""

    model_config = SettingsConfigDict(env_prefix="CNNZOO_", env_ignore_empty=True)

    zoo: Path = Field(
        Path("zoo"),
        description="folder of `<model>/<version>/model.onnx`; if there is no `zoo`, the models that come with cnnzoo",
    )
    host: str = Field("127.0.0.1", description="IP address to listen on, or localhost; 0.0.0.0 is every interface")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(3000, description="port to listen on")
    grpc_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        0, description="port of the Open Inference Protocol over gRPC, which needs more packages; 0: off"
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(1, description="worker processes; each loads the models")
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="threads of ONNX Runtime in each worker; 0: the cores divided by the workers"
    )
    api_key: SecretStr | None = Field(
        None,
        description="key that clients send as `Authorization: Bearer …`; health probes, `/`, `/docs` and "
        "`/openapi.json` need none",
    )
    origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="web origins whose pages may use the service (CORS), separated by commas, or `*`"
    )
    max_body: Annotated[int, Field(ge=1024)] = Field(32 * 2**20, description="bytes in the body of a request")
    max_held: Annotated[int, Field(ge=1024)] = Field(
        256 * 2**20,
        description="bytes in the bodies that a worker holds; as many in its prepared images, and as many in its "
        "long answers; beyond: 503",
    )
    max_requests: Annotated[int, Field(ge=1)] = Field(
        1024, description="requests with a body in flight in a worker; beyond: 503"
    )
    max_pixels: Annotated[int, Field(ge=1, le=PILLOW_MAX_PIXELS)] = Field(
        MAX_PIXELS, description=f"pixels in an image, checked before it is decoded; at most {PILLOW_MAX_PIXELS:,}"
    )
    max_queue: Annotated[int, Field(ge=MAX_IMAGES)] = Field(
        4096,
        description="images in the queue of a model; beyond: 429. At least 1,024, the most in one request",
    )
    max_batch: Annotated[int, Field(ge=1, le=1024)] = Field(
        64, description="images in a batch; a larger request is computed in several, between those of others"
    )
    max_loaded: Annotated[int, Field(ge=1)] = Field(
        16, description="model versions in memory; the least recently used one is dropped"
    )
    timeout: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="seconds until an answer must begin, and for a client to read each 64 kB of it"
    )
    rescan: Annotated[float, Field(ge=0)] = Field(
        1.0, description="seconds between scans of the zoo folder for new and removed versions; 0: no scans"
    )
    log: Literal["off", "json"] = Field("off", description="json: a line for each HTTP request on standard output")

    @field_validator("origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not (origin.startswith(("http://", "https://")) and origin.count("/") == 2):
                raise ValueError(f"{origin!r} is not an origin: write it as https://example.org, without a path")
        return value

    @field_validator("host")
    @classmethod
    def _is_address(cls, value: str) -> str:
        value = "127.0.0.1" if value == "localhost" else value
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("give an IP address: 127.0.0.1 is this machine, 0.0.0.0 every interface") from None
        return value

    @field_validator("api_key")
    @classmethod
    def _is_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or re.fullmatch(r"[!-~]+", value.get_secret_value()):
            return value
        raise ValueError("expected printable ASCII without spaces or line breaks")

    @field_validator("zoo")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("grpc_port")
    @classmethod
    def _can_serve_grpc(cls, value: int, others: ValidationInfo) -> int:
        if value and value == others.data.get("port"):
            raise ValueError("HTTP has this port: choose another one")
        if value and not (find_spec("grpc_health") and find_spec("tritonclient")):
            raise ValueError("gRPC needs tritonclient[grpc] and grpcio-health-checking: see docs/service.md")
        return value

    @model_validator(mode="after")
    def _find_zoo(self) -> Self:
        if "zoo" not in self.model_fields_set:
            self.zoo = self._absolute(self.zoo) if self.zoo.is_dir() or not SHIPPED.is_dir() else SHIPPED
        return self

    @property
    def threads_a_worker(self) -> int:
        """Threads of ONNX Runtime in each worker."""
        return self.threads or max(1, cores() // self.workers)


def read_settings(**given: Any) -> ServeSettings:
    """Return the settings of the environment, with those `given` in their place.

    Raises ValueError that names each wrong variable and what was expected.
    """
    try:
        return ServeSettings(**given)
    except ValidationError as error:
        lines = [f"  {_source(str(e['loc'][0]), given)} is {_shown(e)}: {e['msg']}" for e in error.errors()]
        text = "\n".join(["the settings of the service are wrong:", *lines, "docs/service.md lists them all."])
        raise ValueError(text) from None


def unknown_settings() -> list[str]:
    """Return a sentence about each environment variable CNNZOO_… that is none of the project."""
    known = {f"CNNZOO_{name}".upper() for name in ServeSettings.model_fields} | OTHER_VARIABLES
    sentences = []
    for name in sorted(os.environ):
        if name.startswith("CNNZOO_") and name not in known:
            sentences.append(f"{name} is no setting{did_you_mean(name, known)}")
    return sentences


def _source(field: str, given: Mapping[str, Any]) -> str:
    """Return the option or the environment variable that a setting was read from."""
    return f"--{field}" if field in given else f"CNNZOO_{field.upper()}"


def _shown(error: Any) -> str:
    return "not shown" if error["loc"][0] == "api_key" else repr(error["input"])[:80]
