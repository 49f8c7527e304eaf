"""The interop rig: real clients and tools against a real broker over a real store. Python's standard library only.

Read in this order: `case.py` (what a case can do), `broker.py` (what it runs against), `clients.py` (kcat and Java),
`wire.py` (the few raw requests that no tool offers), `store.py` (MinIO, buckets), `beside.py` (cases beside each other),
`tools.py` (what is installed or built), `packages.py` (other people's clients), `features.py` (what they show, for
docs/clients.md), `processes.py` (children, ports, waiting).
"""
