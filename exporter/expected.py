"""What should exist: nodes, targets and their VIPs. Values only, whatever they were read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from exporter.config import Config, IdentityRule
from routers.model import canonical, family_of


@dataclass(frozen=True, slots=True)
class Node:
    """A cluster machine that should carry traffic; the first address is the one that is shown."""

    name: str
    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        return self.addresses[0]

    def address_for(self, vip: str) -> str | None:
        """The node's first address of the VIP's family, by which a router would forward to it."""
        family = family_of(vip)
        return next((address for address in self.addresses if family_of(address) == family), None)


@dataclass(frozen=True, slots=True)
class Target:
    """Something that users reach. `vips` are canonical addresses; `nodes` those that should serve it; `identity` is
    how answers name their node, if they do.
    """

    name: str
    address: str
    port: int
    vips: tuple[str, ...]
    nodes: tuple[str, ...]
    identity: IdentityRule | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """The whole expected state, by name, in the order of its source."""

    nodes: Mapping[str, Node]
    targets: Mapping[str, Target]
    owners: Mapping[str, Node] = field(init=False)

    def __post_init__(self) -> None:
        owners = {address: node for node in self.nodes.values() for address in node.addresses}
        object.__setattr__(self, "owners", owners)

    def node_at(self, addresses: Iterable[str]) -> Node | None:
        """The node that owns one of these canonical addresses."""
        return next((self.owners[address] for address in addresses if address in self.owners), None)


def from_config(config: Config, vips: Mapping[str, tuple[str, ...]]) -> Expected:
    """The static part of the expected state; `vips` are the addresses of each target, by its name."""
    nodes = {
        node.name: Node(node.name, tuple(canonical(address) for address in node.all_addresses)) for node in config.nodes
    }
    targets = {
        target.name: Target(
            name=target.name,
            address=target.address,
            port=target.port,
            vips=tuple(dict.fromkeys(canonical(vip) for vip in vips.get(target.name, ()))),
            nodes=target.nodes if target.nodes is not None else tuple(nodes),
            identity=target.identity,
        )
        for target in config.targets
    }
    return Expected(nodes, targets)
