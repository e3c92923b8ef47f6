"""REHEARSE: a whole cluster and its router in network namespaces, with faults to inject."""

from lab.commands import break_, down, heal, prober_command, state_directory, status, up
from lab.plan import LabError

__all__ = ["LabError", "break_", "down", "heal", "prober_command", "state_directory", "status", "up"]
