"""The settings of the examples."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.settings import PREFIX


class InboxSettings(BaseSettings):
    """Where files arrive. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    inbox: str = Field(".headrace/inbox", description="The folder in which other systems put files.")
    inbox_poll: float = Field(5.0, gt=0, le=3600, description="How long a job waits before it looks for its file again.")


class ShopSettings(BaseSettings):
    """Where stock is counted. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    shop_database: str = Field(".headrace/shop.db", description="The SQLite file with the stock.")
    shop_connections: int = Field(4, ge=1, le=100, description="Connections to it at once, from one process.")
    shop_wait: float = Field(10.0, gt=0, le=300, description="How long a run waits for a free connection.")
