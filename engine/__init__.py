"""
The machine: deliveries in, runs through pipelines, answers out.
"""

from engine.executor import Executor
from engine.gates import AtGate, Gates
from engine.ingress import Ingress
from engine.machine import PARTITIONS, PREFIX, Engine, topic
from engine.runner import Runner
from engine.watermark import Watermark

__all__ = [
    "PARTITIONS",
    "PREFIX",
    "AtGate",
    "Engine",
    "Executor",
    "Gates",
    "Ingress",
    "Runner",
    "Watermark",
    "topic",
]
