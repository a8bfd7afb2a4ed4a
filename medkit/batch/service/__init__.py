"""The service: sources, workers and all that is to be done now and then, from one file of settings, for months.

What belongs here: processes and threads, their beginning and end, and what is done when one dies. What does not: how a
study is taken (``intake``), made (``making``) and delivered (``delivery``), each of which works without it.
"""
