"""What can be set about the service: environment variables CNNZOO_…, read and checked once at start."""

import ipaddress
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ..contract.images import PILLOW_MAX_PIXELS
from ..contract.zoo_folder import SHIPPED


class ServeSettings(BaseSettings):
    """Each field is the environment variable CNNZOO_<FIELD>; its description is what docs/service.md says."""

    model_config = SettingsConfigDict(env_prefix="CNNZOO_", env_ignore_empty=True)

    zoo: Path = Field(
        Path("zoo"),
        description="folder of `<model>/<version>/model.onnx`; where there is no `zoo`, the models that come along",
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 is every interface")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(3000, description="port to listen on")
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="processes; each has its own copy of the models"
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="of ONNX Runtime in each worker; 0: the cores shared out among the workers"
    )
    api_key: SecretStr | None = Field(
        None, description="if set, asked of everybody as `Authorization: Bearer …`; health and the page are open"
    )
    origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="web origins whose pages may ask and download (CORS), with commas between, or `*`"
    )
    max_body: Annotated[int, Field(ge=1024)] = Field(32 * 2**20, description="bytes of a request's body")
    max_held: Annotated[int, Field(ge=1024)] = Field(
        256 * 2**20, description="bytes of all bodies that a worker holds at once; beyond, 503"
    )
    max_requests: Annotated[int, Field(ge=1)] = Field(
        1024, description="requests with a body that a worker has in hand; beyond, 503"
    )
    max_pixels: Annotated[int, Field(ge=1, le=PILLOW_MAX_PIXELS)] = Field(
        25_000_000, description="pixels of a picture, before it is decoded"
    )
    max_queue: Annotated[int, Field(ge=1024)] = Field(
        4096, description="images that wait for one model; beyond, 429. At least the 1,024 of one request"
    )
    max_batch: Annotated[int, Field(ge=1, le=1024)] = Field(64, description="images that a network is given at once")
    max_loaded: Annotated[int, Field(ge=1)] = Field(
        16, description="versions of models in memory at once; the least recently used one is let go"
    )
    timeout: Annotated[float, Field(gt=0, le=3600)] = Field(10.0, description="seconds until an answer must have begun")
    rescan: Annotated[float, Field(ge=0)] = Field(
        1.0, description="seconds between looks at the zoo folder for new and removed versions; 0: never"
    )
    log: Literal["off", "json"] = Field("off", description="json: a line for each request on standard output")

    @field_validator("origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not (origin.startswith(("http://", "https://")) and origin.count("/") == 2):
                raise ValueError(f"{origin!r} is no origin: write it as https://example.org, without a path")
        return value

    @field_validator("host")
    @classmethod
    def _is_address(cls, value: str) -> str:
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
        raise ValueError("a key is of letters, digits and signs, without spaces or line breaks")

    @field_validator("zoo")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _find_zoo(self) -> Self:
        if "zoo" not in self.model_fields_set:
            self.zoo = self._absolute(self.zoo) if self.zoo.is_dir() or not SHIPPED.is_dir() else SHIPPED
        return self

    @property
    def threads_a_worker(self) -> int:
        return self.threads or max(
            1, (len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1) // self.workers
        )


@cache
def settings() -> ServeSettings:
    """The process's settings. Exits, naming the variable and what is expected, if one cannot be read."""
    try:
        return ServeSettings()
    except ValidationError as error:
        lines = [f"  CNNZOO_{str(e['loc'][0]).upper()} is {_shown(e)}: {e['msg']}" for e in error.errors()]
        sys.exit("The service's settings cannot be used:\n" + "\n".join(lines) + "\ndocs/service.md lists them all.")


def _shown(error: Any) -> str:
    return "not shown" if error["loc"][0] == "api_key" else repr(error["input"])[:80]
