"""The settings of the handlers."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.settings import PREFIX


class BookSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    database: str = Field(
        "sqlite:///.headrace/points.db", pattern="^sqlite:///", description="The file in which credits are written down."
    )
