"""The bulk queue: lanes, portions, async actions and their endpoints, the worker.

An async action is a row: queue entry, progress and result. A kind of job says how to process the next
records; one portion is one transaction, in which the data, the progress and the failures commit together.
"""
