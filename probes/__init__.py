"""MEASURE: one probe over one pinned flow, and exactly what happened to it."""
