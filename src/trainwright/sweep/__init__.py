"""Sweeps: propose values, train with them, rank what came of it.

    sweep_file.py   a person's YAML → what is searched, how, and by what it is judged
    proposals.py    a sweep and the trials that ended → the next trial's values, as a pure function
    search.py       START HERE: the loop. Trial on record → plan → run → outcome on record, until there is nothing left
    pruning.py      whether a run is so far behind that it is stopped
    record.py       what the ledger says about a sweep: its trials, how they stand, what they spent
    folder.py       who works on a sweep, and what it may spend
    ranking.py      the trials in order, with intervals and paired differences, and what may be concluded
    importance.py   how much each key matters, as far as the trials tell
    show.py         all of that as one document

A trial is a run like any other (`pipeline/run.py`), one after the other in this process. Everything that decides what comes
next is on record before it is acted on, so a sweep that was killed goes on as if nothing had happened.
"""
