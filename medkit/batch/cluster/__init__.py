"""The making of studies on a Dask cluster: what is sent there, what runs there, and how workers are found fit for it.

What belongs here: all that knows of Dask. What does not: the ledger, which no worker of a cluster sees, and claiming,
publishing and delivering, which stay with the service (``service.dispatcher``). All of it can be imported without
Dask, which is imported once a cluster is asked, and comes with the extra ``medkit-imaging[dask]``.
"""
