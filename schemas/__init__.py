"""
What travels and what is remembered: the event, and the ledger's entries.
"""

from schemas.entries import (
    ActionClass,
    Answer,
    AsideReason,
    Entry,
    GateEntry,
    ModelCall,
    Prompt,
    Receipt,
    Run,
    RunDetail,
    SectionReceipt,
    State,
    StepEntry,
    StepKind,
    StepState,
    Usage,
    Verdict,
    WaitReason,
    WriteEntry,
)
from schemas.events import Event

__all__ = [
    "ActionClass",
    "Answer",
    "AsideReason",
    "Entry",
    "Event",
    "GateEntry",
    "ModelCall",
    "Prompt",
    "Receipt",
    "Run",
    "RunDetail",
    "SectionReceipt",
    "State",
    "StepEntry",
    "StepKind",
    "StepState",
    "Usage",
    "Verdict",
    "WaitReason",
    "WriteEntry",
]
