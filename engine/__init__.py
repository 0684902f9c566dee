"""
The machine: deliveries in, runs through pipelines, answers out.
"""

from engine.alerts import Webhook
from engine.executor import Executor
from engine.gates import AtGate, Gates
from engine.ingress import Ingress
from engine.machine import Engine, Layout
from engine.runner import Runner
from engine.watermark import Watermark

__all__ = [
    "AtGate",
    "Engine",
    "Executor",
    "Gates",
    "Ingress",
    "Layout",
    "Runner",
    "Watermark",
    "Webhook",
]
