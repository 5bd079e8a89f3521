"""The mail server: a few connections, kept open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage

import aiosmtplib

from app.settings import MailSettings
from consumer import resource
from core.settings import load


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
