"""
Words from which the offline provider guesses: what a value usually looks like in a text.
"""

from __future__ import annotations

CUES: dict[str, str] = {
    # moods
    "angry": "angry furious unacceptable outrageous disgusted terrible worst ridiculous scam lawyer legal shame inacceptable unverschämt wütend furieux",
    "frustrated": "frustrated frustrating annoyed disappointed again still twice third waiting weeks nobody useless fed tired enttäuscht genervt déçu toujours attends",
    "annoyed": "frustrated frustrating annoyed annoying disappointed again still twice third waiting weeks nobody useless fed tired enttäuscht genervt déçu toujours attends",
    "worried": "worried afraid concerned anxious urgent hope deadline scared risk sorge inquiet inquiète",
    "anxious": "worried afraid concerned anxious urgent please hope deadline sorge inquiet",
    "confused": "confused unclear unsure understand why how wondering verstehe comprends",
    "happy": "happy great thanks love perfect excellent wonderful awesome danke merci super",
    "calm": "hello please could question wondering thanks regards",
    "neutral": "please question information",
    "negative": "angry bad broken terrible disappointed worst fail refund unacceptable wrong problem damaged late",
    "positive": "thanks great love perfect excellent happy wonderful works",
    # urgency
    "urgent": "urgent urgently asap immediately emergency outage critical today now dringend sofort urgence urgente",
    "critical": "critical outage down emergency breach leak security loss everyone production",
    "high": "urgent asap immediately today deadline blocked cannot broken refund charged twice lawyer dringend urgent",
    "low": "whenever minor small typo suggestion idea nice cosmetic",
    # subjects
    "billing": "invoice bill billing charge charged payment paid refund card subscription price credit rechnung facture",
    "payment": "payment paid card charge charged refund bank transfer",
    "refund": "refund refunded money back reimburse rückerstattung remboursement",
    "shipping": "parcel package delivery deliver delivered shipping shipped shipment courier tracking arrived address paket lieferung colis livraison",
    "delivery": "parcel package delivery deliver delivered shipping courier tracking arrived paket lieferung colis livraison",
    "return": "return returned send back exchange rücksendung retour",
    "complaint": "complaint unacceptable disappointed terrible worst angry",
    "technical": "error bug crash login password app website server slow fails broken install update api",
    "bug": "bug error crash crashes exception traceback fails failing failure broken regression unexpected wrong reproduce",
    "feature": "feature request would like support add allow option enhancement idea suggestion",
    "enhancement": "feature request would like support add allow option enhancement improve proposal suggestion",
    "documentation": "docs documentation readme typo example tutorial guide explain",
    "question": "question how what where when why wondering possible help",
    "account": "account login password email profile username sign verification locked konto compte",
    "login": "login log password sign locked reset two-factor",
    "security": "security vulnerability breach leak phishing hacked stolen cve injection",
    "product": "product item size colour color quality damaged broken missing defective",
    "sales": "quote price pricing demo buy purchase plan upgrade licence license seats discount",
    "spam": "lottery winner prize casino viagra crypto seo backlinks click unsubscribe",
    "cancel": "cancel cancellation cancelled terminate kündigen annuler",
    "privacy": "gdpr privacy data delete personal export",
}  # fmt: skip

MILD = ("other", "unknown", "none", "neutral", "normal", "medium", "calm", "general", "question", "low")
"""Values to fall back on when nothing speaks for any, best first."""

STOPWORDS: dict[str, str] = {
    "en": "the and to of is in it you that was for are with have this not be my we they but what your from has can an at on i",
    "de": "der die das und ist nicht ich sie wir mit auf für ein eine einen dem den von zu haben war auch noch aber bei mein meine es",
    "fr": "le la les et est je vous nous pas une des du que pour dans avec mais sur mon ma mes il elle ai depuis toujours ne au",
    "es": "el la los las y es no que en un una por con para pero mi su me se lo del al muy ya está",
    "it": "il lo la gli le e è non che di un una per con ma mi si del della ho sono nel al",
    "pt": "o a os as e é não que em um uma por com para mas meu minha se do da no na ao está",
    "nl": "de het een en is niet ik je wij met op voor van te hebben was ook nog maar bij mijn dat er",
}  # fmt: skip
LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese",
    "nl": "Dutch", "ja": "Japanese", "zh": "Chinese", "ko": "Korean", "ru": "Russian", "ar": "Arabic",
}  # fmt: skip
SCRIPTS = (("ja", "\u3040", "\u30ff"), ("ko", "\uac00", "\ud7af"), ("zh", "\u4e00", "\u9fff"),
           ("ru", "\u0400", "\u04ff"), ("ar", "\u0600", "\u06ff"))  # fmt: skip
"""Languages told by the range their letters come from."""

GREETINGS = (
    "hi", "hello", "dear", "hey", "good morning", "good afternoon", "regards", "kind regards", "best", "thanks",
    "thank you", "cheers", "sincerely", "sent from my", "bonjour", "cordialement", "merci", "hallo", "guten tag",
    "sehr geehrte", "mit freundlichen", "viele grüße", "hola", "saludos", "gracias",
)  # fmt: skip

BOSSY = (
    "ignore", "disregard", "previous instructions", "system prompt", "you are now", "as an ai", "assistant",
    "override", "developer mode", "jailbreak", "new instructions", "instructions above", "reveal", "respond only",
    "output the following", "do not summarise", "do not summarize", "set the", "mark this",
)  # fmt: skip
"""Text that talks to a model rather than to people; two of these in a sentence are an attempt."""
