"""The `ssh` section of a module, which blackbox_exporter does not have. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from probes.pattern import Pattern
from probes.ssh_hostkey import ALGORITHMS

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def _fingerprints(value: object) -> object:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of fingerprints as ssh-keygen -lf prints them, like SHA256:...")
    for one in value:
        if not (isinstance(one, str) and _FINGERPRINT.fullmatch(one)):
            raise ValueError(
                f"{one!r} is no fingerprint as ssh-keygen -lf prints it: SHA256: and 43 letters, digits and + /"
            )
    return tuple(value)


def _host_key(value: object) -> object:
    if isinstance(value, bool):
        return value
    if not (isinstance(value, str) and value and value in ALGORITHMS):
        known = ", ".join(name for name in ALGORITHMS if name)
        raise ValueError(f"write true, or the algorithm to ask for: {known} (expected fingerprints go to host_keys)")
    return value


Text = Annotated[str, Field(min_length=1, max_length=4096)]


class SshLogin(BaseModel):
    """A login with a key and, where there is a `command`, what it must do: exit 0 and print what `expect_output` finds.

    `expect_output` is searched in all that the command prints, its standard error included. Files are paths.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    username: Text
    client_key: Text
    passphrase_file: Text | None = None
    command: Text | None = None
    expect_output: Pattern | None = None
    known_hosts: Text | None = None
    insecure_ignore_host_key: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.username.isprintable():
            raise ValueError("username holds a character that cannot be printed")
        if self.expect_output is not None and self.command is None:
            raise ValueError("expect_output needs a command")
        return self


class SshModule(BaseModel):
    """What a server must show.

    `expect_banner` is searched in the whole identification string. `host_key` asks for the server's key (true, or its
    algorithm); `host_keys` are those that it may have, and ask for it as well.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    expect_banner: Pattern | None = None
    host_key: Annotated[bool | str, BeforeValidator(_host_key)] = False
    host_keys: Annotated[tuple[str, ...], BeforeValidator(_fingerprints)] = ()
    login: SshLogin | None = None

    @model_validator(mode="after")
    def _one_host_key_check(self) -> Self:
        if self.login is None:
            return self
        ways = (bool(self.host_keys), self.login.known_hosts is not None, self.login.insecure_ignore_host_key)
        if sum(ways) != 1:
            raise ValueError(
                "a login needs one way to check the host key: host_keys, or login.known_hosts, or else "
                "login.insecure_ignore_host_key: true"
            )
        return self

    @property
    def algorithm(self) -> str:
        """The host key's algorithm to ask for, a key of ALGORITHMS; empty: any."""
        return self.host_key if isinstance(self.host_key, str) else ""

    @property
    def wants_host_key(self) -> bool:
        return bool(self.host_key) or bool(self.host_keys)
