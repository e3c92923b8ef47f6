"""REHEARSE: a whole cluster and its router in network namespaces, with faults to inject."""
