"""The welcome mail of a new user, over SMTP."""

from __future__ import annotations

from email.message import EmailMessage

import aiosmtplib

from app.contracts.user_registered import UserRegistered
from app.resources.mail import Mailer
from consumer import Context, Permanent, handler


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
