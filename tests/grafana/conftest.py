"""Loads the generator before any test imports the SDK, whose advice about schemas would be an error here."""

import grafana  # noqa: F401
