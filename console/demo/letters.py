"""
What lies in the pretended mailbox, and what comes into it.
"""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP

CUSTOMER, NAME = "ines@nadia.example", "Ines Carvalho"
FIRST, ANSWER, SECOND, AWAY = "1@nadia.example", "2@acme.example", "3@nadia.example", "4@nadia.example"
"""Message-IDs: a question, an agent's answer, the next question, and a machine that says who is away."""
WRITTEN = "Tue, 24 Nov 2026 09:12:00 +0100"
BEFORE = (FIRST, ANSWER)
SUBJECT = "Brackets for order 4711"


def _mail(number: str, text: str, *, sender: str, to: str, subject: str, answers: tuple[str, ...] = ()) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = sender, to, subject, f"<{number}>"
    mail["Date"] = WRITTEN
    if answers:
        mail["In-Reply-To"], mail["References"] = f"<{answers[-1]}>", " ".join(f"<{one}>" for one in answers)
    mail.set_content(text)
    return mail


def earlier(ours: str) -> tuple[bytes, bytes]:
    """
    Return the question that lies in the inbox of *ours* already, and the answer among what was sent.
    """
    asked = _mail(
        FIRST,
        "Hello,\n\ncan you send 40 brackets of type B-12 with order 4711?\n\nInes Carvalho, Nadia Ltd",
        sender=f"{NAME} <{CUSTOMER}>",
        to=ours,
        subject=SUBJECT,
    )
    answered = _mail(
        ANSWER,
        "Hello Ines,\n\n40 brackets of type B-12 are booked on order 4711; they leave Lyon on 17 November.\n\nTom, Acme",
        sender=ours,
        to=CUSTOMER,
        subject=f"Re: {SUBJECT}",
        answers=(FIRST,),
    )
    return asked.as_bytes(), answered.as_bytes()


def second(ours: str) -> bytes:
    """
    Return the question that the demo is about.
    """
    text = (
        "Hello Tom,\n\nthe parcel came today with 30 brackets, 10 are missing. Our line stops on Thursday without them. "
        "When do the other 10 leave?\n\nInes\n\n> 40 brackets of type B-12 are booked on order 4711"
    )
    answers, subject = (FIRST, ANSWER), f"Re: {SUBJECT}"
    return _mail(SECOND, text, sender=f"{NAME} <{CUSTOMER}>", to=ours, subject=subject, answers=answers).as_bytes()


def away(ours: str) -> bytes:
    """
    Return what a machine sends while its owner is away.
    """
    mail = _mail(
        AWAY,
        "I am out of office until Monday.",
        sender=f"{NAME} <{CUSTOMER}>",
        to=ours,
        subject=f"Automatic reply: {SUBJECT}",
        answers=BEFORE,
    )
    mail["Auto-Submitted"] = "auto-replied"
    return mail.as_bytes()
