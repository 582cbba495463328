"""Jobs, and the processes that work them off.

submit.py     a manifest → a job in line
worker.py     takes jobs, holds their leases, starts and stops attempts at them
executor.py   where work runs: the contract; job_folder.py: the files of a job, and its command
process.py    one attempt as a child process; child.py is what runs in it, lifeline.py how it hears that its worker died
container.py  one attempt in a container; contained.py is what runs first in it, engine.py who runs it
devices.py    the GPUs of this host; settings.py: what a worker is told; executors.py opens what that says
embedded.py   a worker beside a service, begun again where it dies (`python -m trainwright.work`)
standing.py   how a job stands: its run's step, loss and time left, its log
"""
