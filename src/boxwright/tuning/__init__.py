"""How a model runs best on this machine."""

from .choice import Choice, choose_execution, stored_execution

__all__ = ["Choice", "choose_execution", "stored_execution"]
