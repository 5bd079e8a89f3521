"""The welcome mail of a new user, over SMTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage

import aiosmtplib
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumer import Context, Permanent, handler, resource
from contracts.user_registered import UserRegistered
from jobs.settings import PREFIX, load


class MailSettings(BaseSettings):
    """Where mail goes. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    smtp_host: str = Field("127.0.0.1", description="The mail server.")
    smtp_port: int = Field(2525, ge=1, le=65_535, description="Its port.")
    smtp_from: str = Field("welcome@example.com", description="The sender's address; its domain is also that of the Message-ID.")
    smtp_timeout: float = Field(10.0, gt=0, le=300, description="How long one step of the mail server may take.")
    smtp_connections: int = Field(4, ge=1, le=100, description="Connections to the mail server at once.")


class Mailer:
    """A few SMTP connections, kept open."""

    def __init__(self, settings: MailSettings) -> None:
        self.settings = settings
        self._idle: asyncio.LifoQueue[aiosmtplib.SMTP] = asyncio.LifoQueue()
        for _ in range(settings.smtp_connections):
            self._idle.put_nowait(
                aiosmtplib.SMTP(
                    hostname=settings.smtp_host,
                    port=settings.smtp_port,
                    timeout=settings.smtp_timeout,
                    start_tls=False,
                    use_tls=False,
                )
            )

    async def send(self, mail: EmailMessage) -> None:
        """Send one mail. Raises aiosmtplib.SMTPException: the server refused, or cannot be reached."""
        client = await self._idle.get()
        try:
            if not client.is_connected:
                await client.connect()
            await client.send_message(mail)
        except aiosmtplib.SMTPResponseException:
            raise  # the server's word; the connection is fine
        except BaseException:
            client.close()  # in the middle of a dialogue: begin a new one next time
            raise
        finally:
            self._idle.put_nowait(client)

    async def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().close()


@resource
async def open_mailer() -> AsyncIterator[Mailer]:
    mailer = Mailer(load(MailSettings))
    yield mailer
    await mailer.close()


@handler("user.registered", queue="email")
async def send_welcome(user: UserRegistered, ctx: Context, mailer: Mailer) -> dict[str, str]:
    """A repeat sends the same Message-ID, by which mail servers and readers know it for the same mail."""
    sender = mailer.settings.smtp_from
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, user.email, f"Welcome, {' '.join(user.name.split())}"
    mail["Message-ID"] = f"<{ctx.idempotency_key.replace(':', '.')}@{sender.rpartition('@')[2]}>"
    mail.set_content(f"Hello {user.name},\n\nyour account number is {user.user_id}.\n")
    try:
        await mailer.send(mail)
    except aiosmtplib.SMTPRecipientsRefused as refused:
        _permanent_if_for_good(refused.recipients[0].code, refused.recipients[0].message)
        raise
    except aiosmtplib.SMTPResponseException as refused:
        _permanent_if_for_good(refused.code, refused.message)
        raise
    return {"message_id": mail["Message-ID"]}


def _permanent_if_for_good(code: int, message: str) -> None:
    """5yz is a permanent negative completion, 4yz a transient one (RFC 5321, section 4.2.1)."""
    if code >= 500:
        raise Permanent(f"the mail server refused for good: {code} {message}")
