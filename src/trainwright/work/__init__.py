"""Jobs, and the processes that work them off.

submit.py     a manifest → a job in line
worker.py     takes jobs, holds their leases, starts and stops their processes
process.py    one job as a child process; child.py is what runs in it, lifeline.py how it hears that its worker died
embedded.py   a worker beside a service, begun again where it dies (`python -m trainwright.work`)
standing.py   how a job stands: its run's step, loss and time left, its log
"""
