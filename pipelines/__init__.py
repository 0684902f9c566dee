"""
The language: what ops write, how it is read and what is proved of it before a run.
"""

from pipelines.findings import Finding, as_text
from pipelines.loading import Loaded, load
from pipelines.places import Place, Places

__all__ = ["Finding", "Loaded", "Place", "Places", "as_text", "load"]
