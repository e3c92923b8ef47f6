"""How many ICMP errors may be asked of a node, so that it answers every time. Pure.

Linux sends one receiver a burst of 6 ICMP errors, then one a second (net/ipv4/inetpeer.c,
inet_peer_xrlim_allow; XRLIM_BURST_FACTOR 6, icmp_ratelimit 1000 ms), each node for itself, for each address
that it answers to. Which node a packet will ask is not known beforehand where it is the question.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable

BURST = 5.0  # one less than Linux allows, and a tenth slower: clocks differ, and a user may run mtr
PER_SECOND = 0.9
SILENCES = 5.0  # in a row, of a key that had answered before, until it is asked half as often; as many answers undo it
SLOWEST = 0.125  # of `per_second`

_LOOK_AGAIN = 0.05  # seconds, where what is under way decides
_ROUNDING = 1e-6  # of an answer; seconds since the epoch are that coarse
_SWEEP = 256  # keys from which on those are looked for that can be forgotten
_MOST_KNOWN = 4096  # keys of which it is remembered that they answered


class Ticket:
    """One packet under way. Must be settled, by `answered` or `silent`, whatever happens; the first time counts."""

    __slots__ = ("keys", "open")

    def __init__(self, keys: tuple[Hashable, ...]) -> None:
        self.keys = keys
        self.open = True


class _Allowance:
    """What one key may still be asked. `held` packets under way may be for it; none of them is taken off `level`
    before it is known to have been, because that happened somewhere between when it left and now: a level that
    has recovered meanwhile from what was taken off too early would allow too much.
    """

    __slots__ = ("held", "level", "pace", "row", "then")

    def __init__(self, level: float, now: float) -> None:
        self.level = level
        self.then = now
        self.held = 0
        self.pace = 1.0
        self.row = 0.0  # silences in a row; answers in a row below 0


class IcmpBudget:
    """Keeps nodes' ICMP limits. A key is (source address, via); times are seconds of any clock that never steps.

    A packet that may ask any of several keys waits until each of them could answer it, and is held against each
    until it is known which one it asked. With `burst` <= 5 and `per_second` <= 1, no answer is suppressed unless
    somebody else asks the same nodes from the same address.
    """

    def __init__(self, burst: float = BURST, per_second: float = PER_SECOND) -> None:
        if not (burst >= 1 and per_second > 0):
            raise ValueError("needs a burst of at least 1 and a positive rate")
        self._burst = burst
        self._per_second = per_second
        self._used: dict[Hashable, _Allowance] = {}  # the others have their whole burst
        self._known: dict[Hashable, None] = {}  # keys that have answered
        self._sweep_at = _SWEEP

    def wait(self, keys: Collection[Hashable], now: float) -> float:
        """Seconds until a packet that any one of `keys` may have to answer can go out; 0.0: now.

        Ask again after them: other packets may have gone out meanwhile.
        """
        return max((self._wait(key, now) for key in keys), default=0.0)

    def reserve(self, keys: Collection[Hashable], now: float) -> Ticket:
        """A packet goes out that any one of `keys` may have to answer."""
        ticket = Ticket(tuple(dict.fromkeys(keys)))
        if len(self._used) >= self._sweep_at:
            self._sweep(now)
        for key in ticket.keys:
            self._current(key, now).held += 1
        return ticket

    def answered(self, ticket: Ticket, key: Hashable | None, now: float) -> None:
        """`key` answered. None, or one that the ticket does not have: somebody else did, or the packet never left."""
        for asked in self._settle(ticket, now):
            if asked != key:
                continue
            allowance = self._used[asked]
            allowance.level -= 1
            allowance.row = min(0.0, allowance.row) - 1
            if allowance.row <= -SILENCES:
                allowance.pace, allowance.row = min(1.0, allowance.pace * 2), 0.0
            self._known[asked] = None
            if len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]

    def silent(self, ticket: Ticket, now: float) -> None:
        """Nobody answered. Who was asked is not known, so each of n keys is taken to have been asked 1/n.

        Where all of them had answered before, somebody else may be using their allowance up: it counts as 1/n of
        a silence of each.
        """
        keys = self._settle(ticket, now)
        suspicious = all(key in self._known for key in keys)
        for key in keys:
            allowance = self._used[key]
            allowance.level -= 1 / len(keys)
            if suspicious:
                allowance.row = max(0.0, allowance.row) + 1 / len(keys)
            if allowance.row >= SILENCES - _ROUNDING:
                allowance.pace, allowance.row = max(SLOWEST, allowance.pace / 2), 0.0

    def pace(self, key: Hashable) -> float:
        """How fast a key's allowance is taken to recover, of `per_second`."""
        return self._used[key].pace if key in self._used else 1.0

    def _wait(self, key: Hashable, now: float) -> float:
        if key not in self._used:
            return 0.0
        allowance = self._current(key, now)
        lacking = 1 + allowance.held - allowance.level
        if lacking <= _ROUNDING:
            return 0.0
        if 1 + allowance.held > self._burst:
            return _LOOK_AGAIN
        return lacking / (self._per_second * allowance.pace)

    def _settle(self, ticket: Ticket, now: float) -> tuple[Hashable, ...]:
        keys = ticket.keys if ticket.open else ()
        ticket.open = False
        for key in keys:
            self._current(key, now).held -= 1
        return keys

    def _current(self, key: Hashable, now: float) -> _Allowance:
        """A key's allowance as it is by now. One that is whole again begins anew, at full pace."""
        allowance = self._used.get(key)
        if allowance is None:
            allowance = self._used[key] = _Allowance(self._burst, now)
        elif now > allowance.then:
            recovered = (now - allowance.then) * self._per_second * allowance.pace
            allowance.level = min(self._burst, allowance.level + recovered)
            allowance.then = now
        if allowance.level >= self._burst and not allowance.held:
            allowance.pace, allowance.row = 1.0, 0.0
        return allowance

    def _sweep(self, now: float) -> None:
        for key in list(self._used):
            allowance = self._current(key, now)
            if allowance.level >= self._burst and not allowance.held:
                del self._used[key]
        self._sweep_at = max(_SWEEP, 2 * len(self._used))
