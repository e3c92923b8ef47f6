"""The dashboards, as Python; `python -m grafana.generate` writes dashboards/*.json from it. Not part of the package."""

import warnings

# The SDK recommends Grafana's second dashboard schema as soon as the classic one is imported. Grafana 10.4 reads the
# classic one only, so the advice cannot be taken; it must not fail what runs with warnings as errors.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    import grafana_foundation_sdk.builders.dashboard
    import grafana_foundation_sdk.builders.stat  # noqa: F401  # panels bring the newer schemas' models, which warn too
