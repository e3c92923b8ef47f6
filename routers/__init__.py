"""READ: what a router was told, believes and forwards by. Routers are only ever read."""
