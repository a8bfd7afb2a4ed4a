"""The making of studies on a Dask cluster: what is sent there, what runs there, and how workers are found fit for it.

What belongs here: all that knows of Dask. What does not: the ledger, which no worker of a cluster sees, and claiming,
publishing and delivering, which stay with the service (``service.dispatcher``). Nothing here is imported where no
cluster is named; it needs the extra ``medkit-imaging[dask]``.
"""
