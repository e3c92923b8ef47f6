"""Passwords, keys and communities taken out of what a router said. Pure.

No platform is asked for one; a configuration may show some all the same (MD5 passwords of neighbors, SNMP).
"""

from __future__ import annotations

import re

REMOVED = "removed"

_WORDS = (
    r"(?:[\w.-]{0,40}(?:password|passwd|passphrase|secret|pre-shared-key|private-key)"
    r"|(?:[\w-]{0,40}-)?(?:auth|authentication|md5|tcp-md5|api|encryption)[-_]?key"
    r"|key-string|message-digest-key \d{1,3} md5|pre-shared-secret|snmp-server community|snmp community"
    r"|md5sig key|(?:tacacs|radius|isakmp)[^\n]{0,80}? key)"
)
_NAMES = (
    r"[^\"\\]{0,60}(?:password|passwd|passphrase|secret|psk|token|private_?-?key"
    r"|(?:auth|authentication|md5|tcp-md5|api|encryption)[-_]?key|key[-_]?string|snmp[-_]?community)[^\"\\]{0,20}"
)
_STRING = r"\"(?:[^\"\\]|\\.)*\""
_IN_JSON = re.compile(
    rf"(\"{_NAMES}\"\s{{0,8}}:\s{{0,8}}(?:\[\s{{0,8}}\{{\s{{0,8}}\"data\"\s{{0,8}}:\s{{0,8}})?){_STRING}", re.IGNORECASE
)
# `password 7 0822455D0A16`, `password "lab";`, `secret sha512 $6$...`, `tcp-md5-key=...`, `key 7 05...`
_KIND = r"(?:(?:[0-9]|sha512|md5|encrypted|plaintext|clear) )?"
_IN_TEXT = re.compile(
    rf"(?<![\w\"-])((?:{_WORDS}|key(?= [0-9] ))(?: ?[=:] ?| {{1,4}}){_KIND})({_STRING}|'[^'\n]*'|[^\s\"']+)",
    re.IGNORECASE,
)
_NAMED_BY_ITSELF = re.compile(r"(?<![\w$])\$(?:1|5|6|8|9|14|y)\$[\w./$+=-]{4,200}")
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----[^-]*-----END [A-Z0-9 ]{1,40}-----")


def without_secrets(text: str) -> str:
    """The text with each secret that stands behind its keyword, or is known by its form, replaced by one word."""
    text = _PEM.sub(REMOVED, text)
    text = _IN_JSON.sub(rf'\1"{REMOVED}"', text)
    text = _IN_TEXT.sub(_replaced, text)
    return _NAMED_BY_ITSELF.sub(REMOVED, text)


def _replaced(match: re.Match[str]) -> str:
    value = match[2]
    quote = value[0] if value[0] in "\"'" else ""
    end = value[-1] if not quote and value[-1] in ";,}" else ""
    return f"{match[1]}{quote}{REMOVED}{quote}{end}"
